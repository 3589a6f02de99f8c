//! Compares an answer with the OpenAPI document: as strict as can be, so that a field which is not described is an error.

use serde_json::Value;

/// Panics if the document does not say that this is answered.
pub(super) fn check(document: &Value, method: &str, path: &str, status: u16, body: &Value) {
    let path = path.split('?').next().unwrap();
    let (template, item) = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(template, _)| fits(template, path))
        .unwrap_or_else(|| panic!("{path} is not in the document"));
    let operation = &item[method.to_lowercase()];
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {template} answers {status}, which is not in the document");
    let schema = &response["content"]["application/json"]["schema"];
    assert!(!schema.is_null(), "{method} {template} {status} has no schema");
    if let Err(problem) = validate(document, schema, body, "$") {
        panic!("{method} {path} {status}: {problem}\n{body:#}");
    }
}

/// Whether a line of a tail is what the document says.
pub(super) fn check_line(document: &Value, line: &Value) {
    let operation = &document["paths"]["/v1/tail/{node}"]["get"];
    let schema = &operation["responses"]["200"]["content"]["application/x-ndjson"]["schema"];
    validate(document, schema, line, "$").unwrap();
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(part, value)| part.starts_with('{') || part == value)
}

fn validate(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else {
        return if schema == &Value::Bool(true) { Ok(()) } else { Err(format!("{at}: schema {schema}")) };
    };
    for (keyword, of) in schema {
        match keyword.as_str() {
            "$ref" => {
                let target = of.as_str().unwrap().strip_prefix('#').unwrap();
                let target = document.pointer(target).ok_or_else(|| format!("{at}: {of} leads nowhere"))?;
                validate(document, target, value, at)?;
            }
            "type" => {
                let types = of.as_array().cloned().unwrap_or_else(|| vec![of.clone()]);
                if !types.iter().any(|name| is_of(name.as_str().unwrap(), value)) {
                    return Err(format!("{at}: {value} is not {of}"));
                }
            }
            "required" => {
                for name in of.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return Err(format!("{at}: no {name}"));
                    }
                }
            }
            "properties" | "additionalProperties" => members(document, schema, value, at)?,
            "items" => {
                for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(document, of, item, &format!("{at}[{nth}]"))?;
                }
            }
            "anyOf" | "oneOf" => {
                let found: Vec<_> =
                    of.as_array().unwrap().iter().map(|one| validate(document, one, value, at)).collect();
                if found.iter().all(Result::is_err) {
                    return Err(format!("{at}: none of {found:?}"));
                }
            }
            "const" if of != value => return Err(format!("{at}: {value} is not {of}")),
            "enum" if !of.as_array().unwrap().contains(value) => return Err(format!("{at}: {value} is none of {of}")),
            "minimum" if value.is_number() && value.as_f64() < of.as_f64() => {
                return Err(format!("{at}: {value} is below {of}"));
            }
            "maximum" if value.is_number() && value.as_f64() > of.as_f64() => {
                return Err(format!("{at}: {value} is above {of}"));
            }
            "const" | "enum" | "minimum" | "maximum" | "description" | "format" | "title" | "default" => {}
            other => return Err(format!("{at}: a keyword that this test does not know: {other}")),
        }
    }
    Ok(())
}

/// Compares the members of an object; one that is not described is an error.
fn members(document: &Value, schema: &serde_json::Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let none = serde_json::Map::new();
    let described = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (described.get(name), schema.get("additionalProperties")) {
            (Some(of), _) | (None, Some(of)) => validate(document, of, member, &at)?,
            (None, None) => return Err(format!("{at} is not described")),
        }
    }
    Ok(())
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no such type: {other}"),
    }
}

#[test]
fn an_answer_that_differs_from_the_document_is_found() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "properties": { "a": { "type": ["integer", "null"], "minimum": 0 } },
    });
    let document = serde_json::json!({});
    let problem = |value: Value| validate(&document, &schema, &value, "$").err();
    assert_eq!(problem(serde_json::json!({ "a": 1 })), None);
    assert_eq!(problem(serde_json::json!({})).unwrap(), "$: no \"a\"");
    assert_eq!(problem(serde_json::json!({ "a": "1" })).unwrap(), "$.a: \"1\" is not [\"integer\",\"null\"]");
    assert_eq!(problem(serde_json::json!({ "a": -1 })).unwrap(), "$.a: -1 is below 0");
    assert_eq!(problem(serde_json::json!({ "a": 1, "b": 2 })).unwrap(), "$.b is not described");
}
