"""boto3 on R2's S3 endpoint with the owner's own credentials: a witness of what the job left there."""

import boto3
from botocore.config import Config

from checks import check, given

r2 = boto3.client(
    "s3",
    endpoint_url=given["r2"]["endpoint"],
    region_name="auto",
    aws_access_key_id=given["r2"]["accessKeyId"],
    aws_secret_access_key=given["r2"]["secretAccessKey"],
    config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
)
bucket, prefix = given["r2"]["bucket"], given["r2"]["prefix"]

listed = [item["Key"] for item in r2.list_objects_v2(Bucket=bucket, Prefix=prefix + "outputs/").get("Contents", [])]
check("lists the one output that was written, and none that was refused", listed == [f"{prefix}outputs/written.json"], listed)

answer = r2.get_object(Bucket=bucket, Key=f"{prefix}outputs/written.json")
body = answer["Body"].read().decode()
check("reads the output back as the first PUT wrote it", body == given["outputs"]["written.json"], body)
check("the output has the announced type", answer["ContentType"] == "application/json", answer["ContentType"])

pages = r2.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": 10})
sizes = {item["Key"].removeprefix(prefix): item["Size"] for page in pages for item in page.get("Contents", [])}
del sizes["outputs/written.json"]
check(f"lists the {len(given['sizes'])} migrated objects with their sizes", sizes == given["sizes"], sizes)
