"""Follows the config file: changes of its `[[link]]` tables take effect, other changes do not."""

import anyio.to_thread

from reconciler import log
from reconciler.loop import Loop
from reconciler.settings import Settings, SettingsError, load_again, restart_needed
from watchers.configfile import ConfigWatch


async def follow(watch: ConfigWatch, started: Settings, loop: Loop) -> None:
    """Apply the file's links to the loop; log the place of an invalid edit.

    Each line is logged once, and again when an operator asks (SIGHUP).
    """
    logger = log.get_logger().bind(file=started.config)
    obeyed, broken, limited = started.link, "", ""
    unheeded: list[str] = []
    with watch:
        async for asked in watch:
            if watch.limited is not None and watch.limited != limited:
                limited = watch.limited
                logger.warning(log.WATCHES_LIMITED, reason=limited)
            try:
                # A large file takes long to parse, and events must not wait for it.
                now = await anyio.to_thread.run_sync(load_again, started)
            except SettingsError as error:
                if asked or str(error) != broken:
                    broken = str(error)
                    logger.warning(log.CONFIG_BROKEN, problem=broken, links=len(obeyed))
                continue
            if asked or broken or now.link != obeyed:
                obeyed, broken = now.link, ""
                recipients = await loop.configure(obeyed)
                logger.info(log.CONFIG_RELOADED, links=len(obeyed), recipients=recipients)
            before, unheeded = unheeded, list(restart_needed(started, now))
            if unheeded and (asked or unheeded != before):
                logger.warning(log.RESTART_NEEDED, settings=unheeded)
