"""Replies of the routes of files, and the form of an upload.

Shapes: `openai/types/file_*.py` of the Python SDK 3.54.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Struct, UnsetType

from nitro.parameters import Param
from nitro.state import files, uploads

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


class ExpiresAfter(Struct):
    """When a file is deleted."""

    anchor: Any = None
    seconds: Any = None


class UploadForm(Struct, frozen=True, kw_only=True):
    """`POST /v1/files`, which is a form."""

    file: Annotated[str, Param("The file.")]
    purpose: Annotated[
        str, Param("What it is for. Only `batch` is used here; the others are kept, too.", choices=PURPOSES)
    ]
    expires_after: Annotated[
        ExpiresAfter | None,
        Param("`anchor` is `created_at`, `seconds` 3600 to 2592000. Default: 30 days for `batch`, else never."),
    ] = None


class FileObject(Struct, omit_defaults=False):
    """A file."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int | UnsetType = UNSET
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"


class FileDeleted(Struct):
    """There is no such file any more."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class FileList(Struct):
    """Some files. `has_more`: there are others behind them."""

    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class UploadObject(Struct):
    """A file that comes in parts. `bytes`: of the whole. `file`: what was made of them."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None = None
    object: Literal["upload"] = "upload"


class UploadPart(Struct):
    """A part that is kept."""

    id: str
    created_at: int
    upload_id: str
    object: Literal["upload.part"] = "upload.part"


class PartForm(Struct, frozen=True, kw_only=True):
    """`POST /v1/uploads/{upload_id}/parts`, which is a form."""

    data: Annotated[str, Param("The bytes of the part, at most 64 MiB.")]


def upload_described(upload: uploads.StoredUpload, file: files.File | None = None) -> UploadObject:
    """An upload as clients see it."""
    return UploadObject(
        id=upload.id,
        bytes=upload.bytes,
        created_at=upload.created,
        expires_at=upload.expires,
        filename=upload.name,
        purpose=upload.purpose,
        status=upload.status,  # type: ignore[arg-type]
        file=described(file) if file else None,
    )


def described(file: files.File) -> FileObject:
    """A file as clients see it."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created,
        filename=file.name,
        purpose=file.purpose,
        expires_at=UNSET if file.expires is None else file.expires,
    )
