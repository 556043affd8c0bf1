"""What happens on a HyperPod node when it is created: an ordered list of steps, and a report of them.

Standard library only, Python 3.10 and later: it runs on nodes as AWS delivers them.
"""
