"""What the OpenAPI document says of files and batches."""

from typing import Any

from nitro.api.batches import schema as batches
from nitro.api.batches.bodies import BatchBody
from nitro.api.files import routes as file_routes
from nitro.api.files import schema as files
from nitro.api.files.part_bodies import CompleteBody, UploadBody
from nitro.api.openapi.operation import ANY, Operation

KEPT = (400, *ANY[:2], 404, 500, 503)
CHANGED = (*KEPT[:4], 413, 500, 503, 507)
FILE, BATCH, UPLOAD = "/v1/files/{file_id}", "/v1/batches/{batch_id}", "/v1/uploads/{upload_id}"
AFTER: dict[str, Any] = {"type": "string", "description": "The id of the one before the first one."}
OF_FILES: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": file_routes.MOST, "default": file_routes.MOST},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
    "after": AFTER,
    "purpose": {"type": "string", "description": "Only files that were uploaded for this."},
}
OF_BATCHES: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "after": AFTER,
}
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("post", "/v1/files"): Operation("Keep a file", CHANGED, files.FileObject, files.UploadForm, form=True),
    ("get", "/v1/files"): Operation("The files that are kept", KEPT, files.FileList, query=OF_FILES),
    ("get", FILE): Operation("What a file is", KEPT, files.FileObject),
    ("delete", FILE): Operation("Forget a file", (*KEPT[:4], 409, 500, 503, 507), files.FileDeleted),
    ("get", f"{FILE}/content"): Operation("What is in a file", KEPT, file_routes.CONTENT_TYPE),
    ("post", "/v1/uploads"): Operation(
        "Begin a file that comes in parts", (*CHANGED[:5], 429, *CHANGED[5:]), files.UploadObject, UploadBody
    ),
    ("post", f"{UPLOAD}/parts"): Operation(
        "Keep a part", (*CHANGED[:5], 429, *CHANGED[5:]), files.UploadPart, files.PartForm, form=True
    ),
    ("post", f"{UPLOAD}/complete"): Operation("Make one file of its parts", CHANGED, files.UploadObject, CompleteBody),
    ("post", f"{UPLOAD}/cancel"): Operation("Forget its parts", CHANGED, files.UploadObject),
    ("post", "/v1/batches"): Operation(
        "Have a file of requests answered",
        (400, *ANY[:2], 404, 413, 429, 500, 503, 507),
        batches.Batch,
        BatchBody,
    ),
    ("get", "/v1/batches"): Operation("The batches", KEPT, batches.BatchList, query=OF_BATCHES),
    ("get", BATCH): Operation("How far a batch is", KEPT, batches.Batch),
    ("post", f"{BATCH}/cancel"): Operation("End a batch", CHANGED, batches.Batch),
}
DESCRIBED = (files.UploadForm, files.PartForm, UploadBody, CompleteBody, BatchBody)
