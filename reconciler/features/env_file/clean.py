"""`relinkd clean` for files of variables: finds them by label and by their last line."""

from collections.abc import AsyncIterator

from reconciler.engine_api import EngineApi
from reconciler.feature import Cleaned, Leaving
from reconciler.features.env_file.content import END, below, path_of
from watchers.errors import EngineFailedError, NotFoundError
from watchers.model import Container

_ROOT = "0"


async def clean(leaving: Leaving) -> AsyncIterator[Cleaned]:
    """Remove the files; in containers that do not run, only empty them."""
    api = EngineApi(leaving.engine)
    for each in sorted(leaving.mirror.containers.values(), key=lambda one: one.name):
        path = path_of(each)
        if path is None:
            continue
        try:
            data = await api.get_file(each.id, path)
            if data is None or not data.endswith(f"{END}\n".encode()):
                continue  # no file, or not relinkd's
            done = "would be removed" if leaving.dry_run else await _remove(each, path, api)
        except (EngineFailedError, NotFoundError) as error:
            mend = f"docker exec -u 0 {each.name} rm {path}"
            yield Cleaned(f"{each.name}: {path} not removed: {error}; {mend}", "failed")
        else:
            yield Cleaned(f"{each.name}: {path} {done}")


async def _remove(container: Container, path: str, api: EngineApi) -> str:
    if not container.running:
        await api.put_file(container.id, path, b"", below=below(container, path))
        return "emptied: relinkd cannot remove a file from a container that does not run"
    ran = await api.run(container.id, ["rm", "-f", path, f"{path}.new"], user=_ROOT)
    if ran.code:
        raise EngineFailedError(f"rm ended with {ran.code}")
    return "removed"
