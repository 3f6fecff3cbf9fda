"""Watched folders: files come in by the one intake, each once, as if they had been sent."""

from cxr_pacs.gateway.watch.folder_watch import FolderWatch
from cxr_pacs.gateway.watch.standing import FileHistory, WatchStanding, file_histories, watch_standings

__all__ = ["FileHistory", "FolderWatch", "WatchStanding", "file_histories", "watch_standings"]
