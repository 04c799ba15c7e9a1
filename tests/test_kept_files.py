"""What became of a file is kept for requests that bring it again: nothing is decoded twice, and there are bounds."""

from hashlib import sha256

import pytest
from pictures import picture

from nitro.errors import ApiError
from nitro.service.media import images
from nitro.service.media.checks import checked
from nitro.service.media.kept import KeptFiles
from nitro.service.media.limits import MediaLimits
from nitro.service.media.sources import MediaSource

WEBP, PNG = picture((9, 7), "WEBP"), picture((9, 7))


def source(data: bytes, max_side: int | None = None) -> MediaSource:
    return MediaSource(kind="image", part="p", field="f", data=data, max_side=max_side)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that were opened."""
    files: list[bytes] = []
    check = images.checked_image

    def checked_image(data: bytes, *more: object) -> bytes:
        files.append(data)
        return check(data, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(images, "checked_image", checked_image)
    return files


def test_a_file_is_opened_once(looked_at: list[bytes]) -> None:
    kept = KeptFiles()
    first, second = (checked([source(WEBP), source(PNG)], MediaLimits(), {}, kept) for _ in range(2))
    assert first == second and looked_at == [WEBP, PNG]
    assert first[0].data.startswith(b"\x89PNG") and first[1].data == PNG
    assert all(medium.digest == sha256(medium.data).digest() for medium in second)


def test_other_limits_are_another_check(looked_at: list[bytes]) -> None:
    kept = KeptFiles()
    (whole,) = checked([source(PNG)], MediaLimits(), {}, kept)
    (small,) = checked([source(PNG, max_side=3)], MediaLimits(), {}, kept)
    assert whole.data == PNG != small.data and whole.digest != small.digest
    for _ in range(2):  # what is refused is looked at anew
        with pytest.raises(ApiError, match="at most 9 pixels"):
            checked([source(PNG)], MediaLimits(pixels=9), {}, kept)
    assert looked_at == [PNG] * 4


def test_bounds(looked_at: list[bytes]) -> None:
    files = [picture((20, 20 + i), "WEBP") for i in range(3)]
    size = len(checked([source(files[0])], MediaLimits(), {}, KeptFiles())[0].data)
    for kept in (KeptFiles(max_bytes=5 * size // 2), KeptFiles(max_files=2)):
        looked_at.clear()
        for file in (*files, files[2], files[1], files[0]):
            checked([source(file)], MediaLimits(), {}, kept)
        assert looked_at == [*files, files[0]]
    looked_at.clear()
    for _ in range(2):
        checked([source(files[0])], MediaLimits(), {}, KeptFiles(max_bytes=size - 1))
    assert looked_at == [files[0]] * 2
