"""The errors that clients meet, as objects."""

import pytest

from nitro.errors import ApiError


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (ApiError.invalid("top_p", "at most 1"), "Invalid value for 'top_p': expected at most 1.", "invalid_value"),
        (
            ApiError.invalid("top_p", "a schema", code="invalid_json_schema"),
            "Invalid value for 'top_p': expected a schema.",
            "invalid_json_schema",
        ),
        (
            ApiError.unsupported("top_p"),
            "Unsupported parameter: 'top_p' is not supported by this server yet.",
            "unsupported_parameter",
        ),
        (
            ApiError.unsupported("top_p", "is not supported with this engine"),
            "Unsupported parameter: 'top_p' is not supported with this engine.",
            "unsupported_parameter",
        ),
        (ApiError.missing("top_p"), "Missing required parameter: 'top_p'.", "missing_required_parameter"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_names_it(error: ApiError, message: str, code: str) -> None:
    assert error.status == 400
    assert error.body == {
        "error": {"message": message, "type": "invalid_request_error", "param": "top_p", "code": code}
    }
