"""The config file, followed: its `[[link]]` tables are obeyed as they change, nothing else is."""

import anyio.to_thread

from reconciler import log
from reconciler.controller import Controller
from reconciler.settings import Settings, SettingsError, load_again, restart_needed
from watchers.configfile import ConfigWatch


async def follow(watch: ConfigWatch, started: Settings, controller: Controller) -> None:
    """Have the controller obey the file's links as they are; of a broken edit only say where.

    What is said is said once, and again when a person asks.
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
                # A large file takes long to parse, and events are not to wait for it.
                now = await anyio.to_thread.run_sync(load_again, started)
            except SettingsError as error:
                if asked or str(error) != broken:
                    broken = str(error)
                    logger.warning(log.CONFIG_BROKEN, problem=broken, links=len(obeyed))
                continue
            if asked or broken or now.link != obeyed:
                obeyed, broken = now.link, ""
                recipients = await controller.configure(obeyed)
                logger.info(log.CONFIG_RELOADED, links=len(obeyed), recipients=recipients)
            before, unheeded = unheeded, list(restart_needed(started, now))
            if unheeded and (asked or unheeded != before):
                logger.warning(log.RESTART_NEEDED, settings=unheeded)
