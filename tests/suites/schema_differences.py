"""Where Nitro differs from the JSON Schema test suite, and why: by folder, file, kind and keyword, with how often.

A schema is "refused", or a valid instance is "not written"; in the optional parts an invalid one may be "let through".
A test fails where an entry is missing, or is no longer true.
"""

Difference = tuple[str, str, str]
Table = dict[Difference, tuple[int, str]]

NEVER = "no value keeps the schema, so there is no answer"
WHOLE = "a number that is whole is written without a fraction"
FETCHED = "what it refers to is in another document, and nothing is fetched"
REWRITTEN = "what it refers to has an address of its own within a keyword for which another schema is written"
DYNAMIC = "where a dynamic reference leads is known only with the value"
LOOKED_AT = "what has been looked at depends on the value in more ways than branches of one kind"
FREE_ITEMS = "items are of too many values for all arrays to be listed"
ASSERTED = "a format is enforced, and there only noted"
NO_GRAMMAR = "no regular expression that llguidance takes can tell what has this format"
OVERLAP = "llguidance takes patterns of names only if no name matches two"
LEAP = "a leap second is written with the offset of UTC alone"
NARROWER = "an opposite leaves out fractions, and a branch is closed by itself: fewer values are written"
LARGE = "numbers leave too many remainders, or are beyond 64 bits"
CONTENT = "what a string contains is not looked at: an annotation since draft 2019-09"

BOTH: Table = {
    ("allOf", "refused", "allOf"): (2, NEVER),
    ("anyOf", "refused", "anyOf"): (1, NEVER),
    ("boolean_schema", "refused", "enum"): (1, NEVER),
    ("const", "not written", ""): (4, WHOLE),
    ("enum", "not written", ""): (4, WHOLE),
    ("format", "refused", "format"): (3, NO_GRAMMAR),
    ("multipleOf", "refused", "multipleOf"): (1, LARGE),
    ("oneOf", "not written", ""): (1, NARROWER),
    ("oneOf", "refused", "oneOf"): (3, NEVER),
    ("patternProperties", "refused", "patternProperties"): (2, OVERLAP),
    ("ref", "refused", "$ref"): (6, f"{NEVER}; {FETCHED}; {REWRITTEN}"),
    ("type", "not written", ""): (1, WHOLE),
    ("uniqueItems", "refused", "uniqueItems"): (2, FREE_ITEMS),
    ("refRemote", "refused", "items"): (1, FETCHED),
    ("refRemote", "refused", "properties"): (2, FETCHED),
}
OPTIONAL: Table = {
    ("bignum", "not written", ""): (2, LARGE),
    ("cross-draft", "refused", "$ref"): (1, FETCHED),
    ("float-overflow", "not written", ""): (1, LARGE),
}
FORMATS: Table = {
    ("date-time", "not written", ""): (1, LEAP),
    ("time", "not written", ""): (4, LEAP),
    ("idn-email", "refused", "format"): (1, NO_GRAMMAR),
    ("idn-hostname", "refused", "format"): (2, NO_GRAMMAR),
    ("regex", "refused", "format"): (1, NO_GRAMMAR),
}

DIFFERENCES: dict[str, Table] = {
    "draft2020-12": {
        **BOTH,
        ("defs", "refused", "$ref"): (1, FETCHED),
        ("dynamicRef", "refused", "$dynamicRef"): (14, DYNAMIC),
        ("dynamicRef", "refused", "$dynamicAnchor"): (1, DYNAMIC),
        ("dynamicRef", "refused", "unevaluatedProperties"): (1, DYNAMIC),
        ("dynamicRef", "refused", "$ref"): (2, FETCHED),
        ("dynamicRef", "refused", "allOf"): (2, FETCHED),
        ("format", "not written", ""): (16, ASSERTED),
        ("not", "refused", "not"): (3, f"{NEVER}; {LOOKED_AT}"),
        ("refRemote", "refused", "$ref"): (10, FETCHED),
        ("refRemote", "refused", "$defs"): (2, FETCHED),
        ("unevaluatedItems", "refused", "unevaluatedItems"): (5, LOOKED_AT),
        ("unevaluatedProperties", "not written", ""): (1, NARROWER),
        ("unevaluatedProperties", "refused", "unevaluatedProperties"): (6, LOOKED_AT),
        ("unevaluatedProperties", "refused", "oneOf"): (1, LOOKED_AT),
        ("vocabulary", "refused", "$schema"): (2, FETCHED),
    },
    "draft7": {
        **BOTH,
        ("definitions", "refused", "$ref"): (1, FETCHED),
        ("not", "refused", "not"): (2, NEVER),
        ("refRemote", "refused", "$ref"): (5, FETCHED),
        ("refRemote", "refused", "definitions"): (2, FETCHED),
        ("refRemote", "refused", "allOf"): (1, FETCHED),
    },
    "draft2020-12/optional": {
        **OPTIONAL,
        ("dynamicRef", "refused", "$dynamicRef"): (1, DYNAMIC),
        ("format-assertion", "refused", "$schema"): (2, FETCHED),
    },
    "draft7/optional": {**OPTIONAL, ("content", "let through", ""): (4, CONTENT)},
    "draft2020-12/optional/format": {
        **FORMATS,
        ("ecmascript-regex", "refused", "format"): (1, NO_GRAMMAR),
        ("email", "not written", ""): (1, "an @ in quotes before the @ is not written"),
    },
    "draft7/optional/format": FORMATS,
}
