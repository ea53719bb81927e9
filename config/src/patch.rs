//! JSON Merge Patch (RFC 7396) on the properties of twins: bounded JSON objects, kept as text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits::{TWIN_BYTES, TWIN_DEPTH};

/// The properties of one side of a twin: a bounded JSON object, as text in the form in which it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Properties(String);

impl Properties {
    /// The object.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Properties {
    type Error = PatchError;

    fn try_from(text: String) -> Result<Self, PatchError> {
        patched("{}", text.as_bytes()).map(Self)
    }
}

impl From<Properties> for String {
    fn from(properties: Properties) -> Self {
        properties.0
    }
}

/// Why properties or a patch of them are not taken. Nothing changes then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// JSON of another kind: it would replace all properties by something that has none.
    #[error("it is not a JSON object: write {{\"name\": value}}, or null for a value to remove it")]
    NotAnObject,
    /// Larger than [`TWIN_BYTES`], as it is or after the change.
    #[error("it has {bytes} bytes, and properties may have {TWIN_BYTES}")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// Nested deeper than [`TWIN_DEPTH`].
    #[error("it is nested more than {TWIN_DEPTH} deep")]
    TooDeep,
}

/// What `patch` makes of `properties`, which are JSON objects both, in the form in which they are kept.
///
/// # Errors
/// See [`PatchError`].
pub fn patched(properties: &str, patch: &[u8]) -> Result<String, PatchError> {
    let (properties, patch) = (object(properties.as_bytes())?, object(patch)?);
    let text = apply(Value::Object(properties), &Value::Object(patch)).to_string();
    if text.len() > TWIN_BYTES {
        return Err(PatchError::TooLarge { bytes: text.len() });
    }
    Ok(text)
}

/// Checks what may be properties, or a patch of them.
///
/// # Errors
/// See [`PatchError`].
pub fn object(text: &[u8]) -> Result<Map<String, Value>, PatchError> {
    if text.len() > TWIN_BYTES {
        return Err(PatchError::TooLarge { bytes: text.len() });
    }
    // The parser has a limit of its own, above this one.
    let value: Value = serde_json::from_slice(text).map_err(|error| PatchError::Json(error.to_string()))?;
    if depth(&value) > TWIN_DEPTH {
        return Err(PatchError::TooDeep);
    }
    match value {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(PatchError::NotAnObject)
        }
    }
}

/// The standard's algorithm, word for word.
fn apply(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut object = match target {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            object.remove(name);
        } else {
            let before = object.remove(name).unwrap_or_default();
            object.insert(name.clone(), apply(before, value));
        }
    }
    Value::Object(object)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Appendix A of RFC 7396.
    #[test]
    fn the_examples_of_the_standard_hold() {
        for (original, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(apply(original.clone(), &patch), result, "{original} + {patch}");
        }
    }

    #[test]
    fn what_is_no_bounded_object_changes_nothing() {
        assert_eq!(patched("{}", br#"{"interval_ms": 500}"#).unwrap(), r#"{"interval_ms":500}"#);
        for patch in ["", "[1]", "null", "7", "\"x\"", "{\"a\":", "{} x", "\u{feff}{}"] {
            assert!(patched("{}", patch.as_bytes()).is_err(), "{patch}");
        }
        assert!(patched("{}", &[0xff]).is_err());
        let nested =
            |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{}", "}".repeat(depth - 1));
        assert!(patched("{}", nested(TWIN_DEPTH).as_bytes()).is_ok());
        assert_eq!(patched("{}", nested(TWIN_DEPTH + 1).as_bytes()), Err(PatchError::TooDeep));
        assert!(patched("{}", "[".repeat(60_000).as_bytes()).is_err());
        // Two that are small enough, and too large together.
        let half = |name: &str| format!("{{\"{name}\":\"{}\"}}", "x".repeat(TWIN_BYTES / 2 + 10));
        let first = patched("{}", half("a").as_bytes()).unwrap();
        assert!(matches!(patched(&first, half("b").as_bytes()), Err(PatchError::TooLarge { .. })));
        assert_eq!(patched(&first, br#"{"a":null}"#).unwrap(), "{}");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn has_null(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.values().any(|value| value.is_null() || has_null(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
        }
    }

    proptest! {
        #[test]
        fn a_patch_twice_is_a_patch_once(target in value(), patch in value()) {
            let once = apply(target, &patch);
            prop_assert_eq!(apply(once.clone(), &patch), once);
        }

        #[test]
        fn a_patch_that_says_nothing_changes_nothing(target in value()) {
            prop_assume!(target.is_object());
            prop_assert_eq!(apply(target.clone(), &json!({})), target);
        }

        /// What a patch leaves, it leaves by saying it: nothing that it names as null is there afterwards.
        #[test]
        fn what_is_named_null_is_gone(target in value(), patch in value()) {
            if let (Value::Object(after), Value::Object(patch)) = (apply(target, &patch), &patch) {
                for (name, value) in patch {
                    prop_assert_eq!(after.contains_key(name), !value.is_null());
                }
            }
        }

        /// Made from nothing, an object without nulls is itself.
        #[test]
        fn an_object_without_nulls_comes_about_by_itself(object in value()) {
            prop_assume!(object.is_object() && !has_null(&object));
            prop_assert_eq!(apply(json!({}), &object), object);
        }

        #[test]
        fn any_bytes_are_properties_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = patched("{}", &bytes);
        }
    }
}
