"""AWS on this machine, for rehearsals: MiniStack, and what our stacks need beyond it.

It runs as a process of its own (`python -m local_aws`) in an environment of its own, since MiniStack pins
another botocore than the product. MiniStack serves S3, IAM, Lambda, EC2 and CloudFormation itself. This
package adds the types that it lacks, holds every resource to CloudFormation's registry schema, checks what
resources refer to as the services do, and judges the roles that services take on.

Nothing here is part of the product's package: it is a tool of the checkout.
"""
