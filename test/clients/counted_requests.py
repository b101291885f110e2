"""Requests of fsspec's HTTP file system, which zarr-python and xarray read by, counted as they are sent."""

from posixpath import basename

import aiohttp

METADATA = {"zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"}


class CountedRequests:
    """What was asked below a root URL."""

    def __init__(self, root: str):
        self.root, self.paths = root, []
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_start.append(self._note)

    @property
    def storage_options(self) -> dict:
        return {"client_kwargs": {"trace_configs": [self.trace]}}

    async def _note(self, _session, _context, params: aiohttp.TraceRequestStartParams) -> None:
        path = str(params.url)
        self.paths.append(path.removeprefix(self.root))

    def metadata(self) -> list[str]:
        return sorted(path for path in self.paths if basename(path) in METADATA)
