"""The data bucket, what links it to Lustre, and the accounting database."""

import json

import pytest

from cdk_slurm.spec import AccountingDatabaseConfig, AssociationConfig

KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
TWO_ZONES = {"additional_zones": [{"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"}]}


# The bucket


@pytest.fixture(scope="module")
def storage(synthesise):
    """The template of the stack that holds the bucket."""

    def template(**data):
        return synthesise(data=data)["storage"]

    return template


def test_the_bucket_is_encrypted_versioned_and_private(storage):
    bucket = storage().one("AWS::S3::Bucket").properties
    [encryption] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_the_bucket_is_reached_over_tls_only(storage):
    template = storage()
    [policy] = template.all("AWS::S3::BucketPolicy")
    assert policy.properties["Bucket"] == template.one("AWS::S3::Bucket").ref
    denied = {
        json.dumps(statement["Condition"], sort_keys=True): statement["Action"]
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if (statement["Effect"], statement["Principal"]) == ("Deny", {"AWS": "*"})
    }
    assert denied == {
        '{"Bool": {"aws:SecureTransport": "false"}}': "s3:*",
        '{"NumericLessThan": {"s3:TlsVersion": 1.2}}': "s3:*",
    }


def test_parts_of_uploads_that_were_given_up_go_after_a_week(storage):
    [rule] = storage().one("AWS::S3::Bucket").at("LifecycleConfiguration.Rules")
    assert rule == {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}, "Status": "Enabled"}


def test_a_customers_key_encrypts_the_bucket(synthesise):
    bucket = synthesise(kms_key=KEY, data={})["storage"].one("AWS::S3::Bucket").properties
    [encryption] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert encryption["BucketKeyEnabled"] is True


def test_the_bucket_is_kept_unless_told_otherwise(storage):
    assert storage().one("AWS::S3::Bucket").kept == ("Retain", "Retain")
    assert not storage().all("Custom::S3AutoDeleteObjects")


def test_a_bucket_that_is_to_be_destroyed_is_emptied_first(storage):
    template = storage(removal_policy="destroy")
    bucket = template.one("AWS::S3::Bucket")
    assert bucket.kept == ("Delete", "Delete")
    assert template.one("Custom::S3AutoDeleteObjects").properties["BucketName"] == bucket.ref


def test_a_bucket_that_exists_is_left_alone(synthesise):
    assembly = synthesise.example("existing")
    assert assembly["cluster"].outputs["S3BucketName"] == "someones-data"
    # The one bucket is that of the lifecycle scripts.
    assert len(assembly["cluster"].all("AWS::S3::Bucket") + assembly["cluster"].all("AWS::S3::BucketPolicy")) == 2
    assert {resource.type for resource in assembly["data"].resources.values()} == {
        "AWS::FSx::DataRepositoryAssociation"
    }


def test_a_cluster_without_a_data_section_has_no_data_bucket(synthesise):
    storage = synthesise(storage={"lustre": {}})["storage"]
    assert not storage.all("AWS::S3::Bucket")
    assert "S3BucketName" not in storage.outputs


# Associations


@pytest.fixture(scope="module")
def linked(synthesise):
    """The template of the stack that links the bucket with Lustre."""

    def template(*associations):
        return synthesise(storage={"lustre": {}}, data={"bucket": "someones-data", "associations": associations})[
            "data"
        ]

    return template


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"path": "/data"},
            {
                "FileSystemPath": "/data",
                "DataRepositoryPath": "s3://someones-data",
                "BatchImportMetaDataOnCreate": True,
                "ImportedFileChunkSize": None,
                "S3.AutoImportPolicy": {"Events": ["NEW", "CHANGED", "DELETED"]},
                "S3.AutoExportPolicy": {"Events": ["NEW", "CHANGED", "DELETED"]},
            },
        ),
        ({"path": "/data/sets"}, {"FileSystemPath": "/data/sets"}),
        ({"path": "/", "prefix": "sets/"}, {"FileSystemPath": "/", "DataRepositoryPath": "s3://someones-data/sets"}),
        ({"path": "/data", "prefix": "a/b/"}, {"DataRepositoryPath": "s3://someones-data/a/b"}),
        ({"path": "/data", "import_events": ["NEW"]}, {"S3.AutoImportPolicy": {"Events": ["NEW"]}}),
        ({"path": "/data", "import_events": []}, {"S3.AutoImportPolicy": None}),
        ({"path": "/data", "export_events": ["CHANGED"]}, {"S3.AutoExportPolicy": {"Events": ["CHANGED"]}}),
        ({"path": "/data", "export_events": []}, {"S3.AutoExportPolicy": None}),
        ({"path": "/data", "import_metadata_on_create": False}, {"BatchImportMetaDataOnCreate": False}),
        ({"path": "/data", "imported_file_chunk_size_mib": 2048}, {"ImportedFileChunkSize": 2048}),
    ],
)
def test_options_of_an_association_reach_their_properties(linked, fields, expected):
    assert set(fields) <= set(AssociationConfig.model_fields)
    association = linked(fields).one("AWS::FSx::DataRepositoryAssociation")
    assert {path: association.at(path) for path in expected} == expected


def test_an_association_links_the_clusters_lustre_with_its_bucket(synthesise):
    assembly = synthesise.example("hyperpod-p5")
    lustre = assembly["storage"].one("AWS::FSx::FileSystem", FileSystemType="LUSTRE")
    bucket = assembly["storage"].one("AWS::S3::Bucket")
    associations = assembly["data"].all("AWS::FSx::DataRepositoryAssociation")
    assert {assembly.text(association.at("FileSystemId")) for association in associations} == {f"${{{lustre.id}}}"}
    assert {
        association.at("FileSystemPath"): assembly.text(association.at("DataRepositoryPath"))
        for association in associations
    } == {
        "/data": f"s3://${{{bucket.id}}}/datasets",
        "/checkpoints": f"s3://${{{bucket.id}}}/checkpoints",
    }


def test_an_association_keeps_its_identity_when_another_one_comes_before_it(linked):
    data = {"path": "/data", "prefix": "d/"}
    alone = linked(data).one("AWS::FSx::DataRepositoryAssociation")
    both = linked({"path": "/checkpoints", "prefix": "c/"}, data)
    assert both.one("AWS::FSx::DataRepositoryAssociation", FileSystemPath="/data").id == alone.id


def test_nothing_waits_for_an_association(synthesise):
    assembly = synthesise.example("hyperpod-cpu")
    waiting = {
        name
        for name, artifact in assembly.manifest["artifacts"].items()
        if "ml-cluster-data" in artifact.get("dependencies", ())
    }
    assert waiting == set()
    # Nor does the cluster stack by way of another.
    waited_for, seen = list(assembly.stack("cluster")["dependencies"]), set()
    while waited_for:
        name = waited_for.pop()
        seen.add(name)
        waited_for += assembly.manifest["artifacts"][name].get("dependencies", [])
    assert seen >= {"ml-cluster-network", "ml-cluster-storage"}
    assert "ml-cluster-data" not in seen
    # Within its stack nothing does either.
    association = assembly["data"].one("AWS::FSx::DataRepositoryAssociation")
    assert association.id not in json.dumps([r.body for r in assembly["data"].resources.values()])


# The accounting database


@pytest.fixture(scope="module")
def accounting(synthesise):
    """The storage stack's template, with an accounting database."""

    def template(**fields):
        return synthesise(network=TWO_ZONES, hyperpod=hyperpod(fields))["storage"]

    return template


def hyperpod(accounting_database):
    return {
        "compute": [{"name": "worker", "type": "ml.c5.4xlarge", "count": 2}],
        "accounting_database": accounting_database,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {},
            {
                "Engine": "mariadb",
                "DBInstanceClass": "db.m6g.large",
                "AllocatedStorage": "100",
                "MaxAllocatedStorage": 1000,
                "StorageType": "gp3",
                "MultiAZ": True,
                "BackupRetentionPeriod": 7,
                "DBName": "slurm_acct_db",
                "CopyTagsToSnapshot": True,
            },
        ),
        ({"instance_type": "t4g.medium"}, {"DBInstanceClass": "db.t4g.medium"}),
        ({"storage_gib": 20}, {"AllocatedStorage": "20", "MaxAllocatedStorage": 200}),
        ({"storage_gib": 60000}, {"MaxAllocatedStorage": 65536}),
        ({"multi_az": False}, {"MultiAZ": False}),
        ({"backup_retention_days": 35}, {"BackupRetentionPeriod": 35}),
        ({"name": "accounting"}, {"DBName": "accounting"}),
    ],
)
def test_options_of_the_database_reach_their_properties(accounting, fields, expected):
    assert set(fields) <= set(AccountingDatabaseConfig.model_fields)
    database = accounting(**fields).one("AWS::RDS::DBInstance")
    assert {path: database.at(path) for path in expected} == expected


def test_the_database_is_private_and_encrypted(accounting):
    database = accounting().one("AWS::RDS::DBInstance").properties
    assert (database["PubliclyAccessible"], database["StorageEncrypted"]) == (False, True)


def test_a_customers_key_encrypts_the_database_and_its_secret(synthesise):
    template = synthesise.example("kms-key")["storage"]
    assert template.one("AWS::RDS::DBInstance").properties["KmsKeyId"] == KEY
    assert template.one("AWS::SecretsManager::Secret").properties["KmsKeyId"] == KEY


def test_only_nodes_reach_the_database_and_only_mariadb(synthesise):
    assembly = synthesise(network=TWO_ZONES, hyperpod=hyperpod({}))
    template = assembly["storage"]
    [group_of_database] = template.one("AWS::RDS::DBInstance").properties["VPCSecurityGroups"]
    [group] = template.all("AWS::EC2::SecurityGroup")
    assert group_of_database == group.att("GroupId")
    assert "SecurityGroupIngress" not in group.properties
    rule = template.one("AWS::EC2::SecurityGroupIngress").properties
    assert rule["GroupId"] == group.att("GroupId")
    assert assembly.resolved(rule["SourceSecurityGroupId"]) == assembly["network"].outputs["SecurityGroup"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 3306, 3306)


def test_the_database_has_a_private_subnet_in_each_zone(synthesise):
    assembly = synthesise(network=TWO_ZONES, hyperpod=hyperpod({}))
    private = [
        assembly["network"].one("AWS::EC2::Subnet", CidrBlock=cidr).ref for cidr in ("10.1.0.0/16", "10.2.0.0/16")
    ]
    subnets = assembly["storage"].one("AWS::RDS::DBSubnetGroup").properties["SubnetIds"]
    assert assembly.resolved(subnets) == private


def test_slurmdbd_may_wait_for_locks_as_long_as_it_asks(accounting):
    assert accounting().one("AWS::RDS::DBParameterGroup").properties["Parameters"] == {
        "innodb_lock_wait_timeout": "900"
    }


def test_the_password_is_generated_and_stands_in_no_template(synthesise, any_cluster):
    for template in synthesise.example(any_cluster):
        for database in template.all("AWS::RDS::DBInstance"):
            password = synthesise.example(any_cluster).text(database.properties["MasterUserPassword"])
            secret = template.one("AWS::SecretsManager::Secret")
            assert password == f"{{{{resolve:secretsmanager:${{{secret.id}}}:SecretString:password::}}}}"
            assert "SecretString" not in secret.properties
            generated = secret.properties["GenerateSecretString"]
            assert json.loads(generated["SecretStringTemplate"]) == {"username": "slurm"}
            assert generated["GenerateStringKey"] == "password"
            assert generated["PasswordLength"] >= 30
            # slurmdbd.conf takes none of these.
            assert set(" #'\"\\=") <= set(generated["ExcludeCharacters"])


@pytest.mark.parametrize(
    ("policy", "protected", "kept"),
    [("retain", True, ("Retain", "Retain")), ("destroy", False, ("Delete", "Delete"))],
)
def test_the_database_and_its_secret_are_kept_unless_told_otherwise(accounting, policy, protected, kept):
    template = accounting(removal_policy=policy)
    assert template.one("AWS::RDS::DBInstance").kept == kept
    database = template.one("AWS::RDS::DBInstance")
    assert database.properties["DeletionProtection"] is protected
    assert database.properties["DeleteAutomatedBackups"] is not protected
    # With what it cannot do without.
    for type_ in (
        "AWS::RDS::DBInstance",
        "AWS::SecretsManager::Secret",
        "AWS::EC2::SecurityGroup",
        "AWS::RDS::DBSubnetGroup",
        "AWS::RDS::DBParameterGroup",
    ):
        # What a subnet group does when nothing is said is to go.
        assert tuple(what or "Delete" for what in template.one(type_).kept) == kept, type_


def test_keeping_is_the_default():
    assert AccountingDatabaseConfig().removal_policy == "retain"
