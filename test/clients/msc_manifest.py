"""NVIDIA's Multi-Storage Client on the manifest of a sealed version: it lists by it, without asking the store."""

from pathlib import Path

from multistorageclient import StorageClient, StorageClientConfig

from checks import check, given
from client_errors import error_of

# The folder with msc_manifest_index.json and parts/; what the objects are: key to size; the objects as files, or null.
MANIFEST = Path(given["manifest"])
OBJECTS: dict[str, int] = given["objects"]
DATA: str | None = given.get("data")

config = {
    "profiles": {
        "sealed": {
            "storage_provider": {"type": "file", "options": {"base_path": DATA or "/nowhere"}},
            "metadata_provider": {
                "type": "manifest",
                "options": {"manifest_path": str(MANIFEST), "storage_provider_profile": "manifests"},
            },
        },
        "manifests": {"storage_provider": {"type": "file", "options": {"base_path": "/"}}},
    }
}
client = StorageClient(StorageClientConfig.from_dict(config, profile="sealed"))

listed = {entry.key.lstrip("/"): entry for entry in client.list()}
sizes = {key.removeprefix((DATA or "/nowhere").lstrip("/") + "/"): entry.content_length for key, entry in listed.items()}
check(f"lists {len(OBJECTS)} objects with their sizes", sizes == OBJECTS, sizes)
check("each with a time and an ETag", all(entry.last_modified and entry.etag for entry in listed.values()))

key, size = next(iter(OBJECTS.items()))
info = client.info(key)
check("tells of one object by its key", info.content_length == size, info)
check("knows that another is not there", error_of(lambda: client.info("no/such/object")) != "")
if DATA is not None:
    for key in OBJECTS:
        original = Path(DATA, key).read_bytes()
        check(f"reads {key}", client.read(key) == original)
