"""`Deployment`: a deployment's document, with what Prefect 2's can do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from anabranch import serving
from anabranch.core.errors import DeploymentError
from anabranch.documents import yaml_file
from anabranch.documents.document import Document
from anabranch.documents.storage import ignored, references, remote
from anabranch.serving import deploying, described

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabranch.core.service import Service

IGNORE_FILE = ".prefectignore"


class Deployment(Document):
    """How a flow is run by others than its author: where its code is, with which parameters, when, and where.

    Args:
        name: of the deployment; with that of the flow unique.
        fields: as of `anabranch.documents.document.Document`: flow_name, entrypoint, path, storage, parameters,
            schedules (or one: schedule), tags, labels, work_pool_name, work_queue_name, job_variables,
            concurrency_limit, description, version and the rest.

    Raises:
        DeploymentError: there is no such field (names the nearest), or a value is refused.
    """

    def __init__(self, name: str, **fields: Any) -> None:
        vars(self).update(vars(Document.read({"name": name, **fields})))

    @classmethod
    def build_from_flow(
        cls, flow: Any, name: str, output: str | os.PathLike[str] | None = None, skip_upload: bool = False,
        ignore_file: str | None = IGNORE_FILE, apply: bool = False, load_existing: bool = True, **fields: Any,
    ) -> Self:  # fmt: skip
        """Return a deployment of a flow of this program.

        Args:
            output: a file to write it to, as YAML.
            skip_upload: whether its code stays where it is, though `storage` is an address.
            ignore_file: in the flow's folder, with patterns of files that are not sent along.
            apply: whether it goes into the service at once.
            load_existing: whether fields that are not given stay as the service has them.
            fields: as of the class.

        Raises:
            DeploymentError: as of the class; or nothing says where the flow is: give entrypoint and path.
        """
        made = cls.read({"name": name, **described.of_flow(flow, **fields)})
        if load_existing:
            made._stay(fields)
        if "storage" in fields and not skip_upload:
            made.upload_to_storage(ignore_file=ignore_file)
        if output is not None:
            made.to_yaml(output)
        if apply:
            made.apply()
        return made

    @classmethod
    def load_from_yaml(cls, path: str | os.PathLike[str], name: str | None = None) -> Self:
        """Return the deployment of a file of YAML or JSON.

        Args:
            name: of one among several.

        Raises:
            DeploymentError: the file is gone or refused, or holds several (names them) or none of this name.
        """
        found = {one.name: one for one in yaml_file.read(path)}
        if name is None and len(found) == 1:
            name = next(iter(found))
        if name not in found:
            raise DeploymentError(f"{path} has the deployments {', '.join(found) or '(none)'}: give the name of one")
        return cls.read(found[name].document(), str(path))

    def to_yaml(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file: as JSON where its name ends in .json, else as YAML."""
        yaml_file.write(self, path)

    def load(self, service: Service | None = None) -> bool:
        """Take over what the service has of it; False where it has none."""
        found = self._known(service)
        if found is not None:
            vars(self).update(vars(found))
        return found is not None

    def update(self, ignore_none: bool = False, **fields: Any) -> None:
        """Change some fields.

        Args:
            ignore_none: whether None leaves a field as it is.

        Raises:
            DeploymentError: as of the class.
        """
        given = {name: value for name, value in fields.items() if value is not None or not ignore_none}
        changed = Document.read({"name": self.name, **given})
        for name in described.named(given):
            setattr(self, name, getattr(changed, name))

    def apply(
        self, upload: bool = False, work_queue_concurrency: int | None = None, *, service: Service | None = None
    ) -> str:
        """Put it into the service; returns its id.

        Args:
            upload: whether its code is sent to `storage` first.
            work_queue_concurrency: runs of its queue at once.

        Raises:
            ServiceError: there is no such pool or project (names the nearest), or a schedule is none.
            ParameterTypeError: its parameters do not fit the flow's.
        """
        if upload:
            self.upload_to_storage()
        if work_queue_concurrency is not None:
            deploying.limit_queue(self, work_queue_concurrency, service)
        return deploying.apply(self, service).id

    def upload_to_storage(self, *, ignore_file: str | None = IGNORE_FILE) -> int:
        """Send the files of the working folder to `storage`, where that is an address; returns their number.

        Raises:
            FetchError: they cannot be written there.
        """
        if self.storage is None or references.kind_of(self.storage) != "url":
            return 0
        folder = Path(self.path or os.getcwd())
        sent = remote.put(
            folder, self.storage["url"], self.storage.get("options"), ignored=ignored.rules(folder, ignore_file)
        )
        self.path: str | None = None  # the folder of the author's machine
        return sent

    @property
    def location(self) -> str:
        """Where its code is, for people."""
        return str(next(iter(self.storage.values()))) if self.storage else str(self.path or "")

    def _known(self, service: Service | None = None) -> Document | None:
        row = (serving.current() if service is None else service).deployments.find(self.full_name)
        return None if row is None else Document.of_row(row)

    def _stay(self, fields: Mapping[str, Any]) -> None:
        known = self._known()
        for name in () if known is None else described.PERSONS:
            if name not in described.named(fields):
                setattr(self, name, getattr(known, name))
