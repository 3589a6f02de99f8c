//! The OpenAPI 3.1 document, made of the routes.

use axum::http::Method;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::route::{Access, Route};
use super::shapes::Problem;

const DESCRIPTION: &str = "What a running sluice can be asked and told. Times are milliseconds since the Unix epoch. Clients \
                           ignore fields that they do not know: there may be more in a later version.";

const SIGNED: &str = "`SLUICE-HMAC-SHA256 key=NAME, timestamp=SECONDS, nonce=HEX, signature=HEX`; the signature is HMAC-SHA256 \
                      over `METHOD\\nPATH?QUERY\\nhex(sha256(body))\\nTIMESTAMP\\nNONCE`.";

/// The document.
pub(crate) fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "sluice", "version": "1", "description": DESCRIPTION, "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "signed": { "type": "apiKey", "in": "header", "name": "Authorization", "description": SIGNED },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let answer = (route.answer)(generator);
    let content = json!({ route.media: { "schema": answer } });
    responses.insert("200".to_owned(), json!({ "description": "What was asked for.", "content": content }));
    let problem = generator.subschema_for::<Problem>();
    let mut refuse = |status: u16, why: &str| {
        let content = json!({ "application/json": { "schema": &problem } });
        responses.insert(status.to_string(), json!({ "description": why, "content": content }));
    };
    let parameters = parameters(route, generator);
    if !parameters.is_empty() || route.access != Access::Public {
        refuse(400, "A parameter is wrong.");
    }
    if route.access != Access::Public {
        refuse(401, "The request does not prove who it is from.");
        refuse(404, "There is no such thing, or `[admin]` has no `tokens`.");
        refuse(408, "The body did not come in time.");
        refuse(413, "The body is larger than the endpoint takes.");
        refuse(429, "Too many signed requests within the window, or too many large bodies at once.");
    }
    if matches!(route.access, Access::Operator | Access::Tenant) {
        refuse(503, "The collector starts.");
    }
    if route.access == Access::Operator {
        refuse(403, "For operators only.");
    }
    for (status, why) in route.refusals {
        refuse(*status, why);
    }
    let security = match route.access {
        Access::Public => json!([]),
        Access::Anyone | Access::Tenant | Access::Operator => json!([{ "bearer": [] }, { "signed": [] }]),
    };
    let role = match route.access {
        Access::Public => "anybody",
        Access::Anyone => "whoever has a token",
        Access::Tenant => "operators, and the tenant that it is about",
        Access::Operator => "operators",
    };
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "description": format!("For {role}."),
        "parameters": parameters,
        "security": security,
        "responses": responses,
    });
    if route.method == Method::PUT {
        let schema = json!({ "type": "string", "format": "binary" });
        operation["requestBody"] = json!({ "required": true, "content": { "application/wasm": { "schema": schema } } });
    }
    operation
}

/// Parts of the path, then keys of the query.
fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let parts = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = parts
        .map(|name| {
            let description = match name {
                "stage" => "Name of a stage.",
                "table" => "Name of a table.",
                "tenant" => "Name of a tenant.",
                "plugin" => "Name of one of its plugins: `web` is the file `web.wasm`.",
                _ => "Name of a source, stage or sink; `sources.NAME`, `stages.NAME` or `sinks.NAME` where several have it.",
            };
            json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" } })
        })
        .collect();
    let query = (route.query)(generator);
    let query = query.as_value();
    let required = query["required"].as_array().cloned().unwrap_or_default();
    for (name, schema) in query["properties"].as_object().into_iter().flatten() {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
        let is_required = required.iter().any(|known| known == name);
        parameters.push(
            json!({ "name": name, "in": "query", "required": is_required, "description": description, "schema": schema }),
        );
    }
    parameters
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use crate::admin::routes::routes;

    #[test]
    fn the_document_in_the_reference_is_current() {
        let text = serde_json::to_string_pretty(&super::document(&routes())).unwrap() + "\n";
        expect_file!["../../../../docs/reference/openapi.json"].assert_eq(&text);
    }
}
