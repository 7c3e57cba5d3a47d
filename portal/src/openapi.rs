//! The description of the API (OpenAPI 3.1), made of the table of routes and the types that handlers take and answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    problem::ProblemBody,
    request::PageQuery,
    route::{Access, Kind, Route, Schemas, Scope, Shape},
};

/// The document.
#[must_use]
pub fn document(table: &[Route]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let problem = Shape::of::<ProblemBody>();
    (problem.parts)(&mut schemas);
    schemas.push(("Problem".to_owned(), (problem.schema)()));
    for route in table.iter().filter(|route| route.kind == Kind::Api) {
        let method = route.method.as_str().to_lowercase();
        paths
            .entry(route.path)
            .or_default()
            .insert(method, operation(route, &mut schemas));
    }
    let schemas: BTreeMap<String, Value> = schemas.into_iter().collect();
    document_of(&paths, &schemas)
}

fn document_of(paths: &BTreeMap<&str, Map<String, Value>>, schemas: &BTreeMap<String, Value>) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Quittance",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Everything that the commands do. Amounts are integers in minor units; times are RFC 3339 in UTC; ids are \
                            accepted in any of their forms. A write may carry an Idempotency-Key: the same again within a day gets the \
                            same answer and does nothing. Lists give `next_cursor`.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token made by `quittance user token create`."},
                "session": {"type": "apiKey", "in": "cookie", "name": crate::auth::guard::COOKIE,
                            "description": "The cookie of a page; writes need its X-CSRF-Token as well."},
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut parameters = path_parameters(route.path);
    if route.paged {
        parameters.extend(query_parameters(&Shape::of::<PageQuery>(), schemas));
    }
    if let Some(query) = &route.query {
        parameters.extend(query_parameters(query, schemas));
    }
    if route.scope != Scope::None {
        parameters.push(header(
            "Quittance-Firm",
            "The firm; an operator names the one of an open break-glass session",
        ));
    }
    if route.is_write() {
        parameters.push(header(
            "Idempotency-Key",
            "Makes this request once more the same request",
        ));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters,
        "responses": responses(route, schemas),
    });
    if let Access::Roles(roles) = route.access {
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        operation["description"] = json!(format!("For the roles {}.", roles.join(", ")));
    } else {
        operation["security"] = json!([]);
    }
    if let Some(body) = &route.body {
        let schema = reference(body, schemas);
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

/// The second word of `/api/v1/invoices/{id}`.
fn tag(path: &str) -> &str {
    let mut words = path
        .split('/')
        .filter(|word| !word.is_empty() && *word != "api" && *word != "v1");
    words.next().unwrap_or("api")
}

fn operation_id(route: &Route) -> String {
    let words: Vec<String> = route
        .path
        .split('/')
        .filter(|word| !word.is_empty() && *word != "api" && *word != "v1")
        .map(|word| word.trim_matches(['{', '}']).replace('-', "_"))
        .collect();
    format!("{}_{}", route.method.as_str().to_lowercase(), words.join("_"))
}

fn path_parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
        })
        .collect()
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "required": false, "description": description,
           "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}})
}

/// Each member of a struct is a parameter; one that may be absent is not null, as a query has no null.
fn query_parameters(shape: &Shape, schemas: &mut Schemas) -> Vec<Value> {
    (shape.parts)(schemas);
    let schema = (shape.schema)();
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(members) = schema["properties"].as_object() else {
        return Vec::new();
    };
    members
        .iter()
        .map(|(name, member)| {
            let mut member = member.clone();
            if let Some(types) = member["type"].as_array() {
                member["type"] = types
                    .iter()
                    .find(|word| *word != "null")
                    .cloned()
                    .unwrap_or(Value::Null);
            }
            let description = member["description"].take();
            if let Some(map) = member.as_object_mut() {
                map.remove("description");
            }
            json!({"name": name, "in": "query", "required": required.contains(&name.as_str()),
                   "description": description.as_str().unwrap_or_default(), "schema": member})
        })
        .collect()
}

/// Keeps a shape under its name, and refers to it.
fn reference(shape: &Shape, schemas: &mut Schemas) -> Value {
    (shape.parts)(schemas);
    let name = (shape.name)();
    schemas.push((name.clone(), (shape.schema)()));
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn responses(route: &Route, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    if let Some((status, shape)) = &route.answer {
        let schema = reference(shape, schemas);
        let body = json!({"description": "Done", "content": {"application/json": {"schema": schema}}});
        responses.insert(status.as_u16().to_string(), body);
    }
    let problem = |says: &str| {
        json!({"description": says,
               "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}})
    };
    let mut say = |status: &str, says: &str| {
        responses.insert(status.to_owned(), problem(says));
    };
    say("400", "What was sent makes no sense");
    say("429", "Too many requests");
    say("503", "The database does not answer; try again");
    if route.access != Access::Anybody {
        say("401", "Nobody is logged in, and no token was sent");
        say("403", "Not for this role, this firm, or this client");
        say("404", "There is nothing of this name");
    }
    if route.is_write() {
        say("409", "A rule refuses");
        say("413", "The body is too large");
        say("415", "The body is no JSON");
        say("422", "The Idempotency-Key was used for another request");
    }
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app;

    #[test]
    fn r212_a_name_means_one_shape() {
        let mut schemas = Schemas::new();
        for route in app::table().iter().filter(|route| route.kind == Kind::Api) {
            operation(route, &mut schemas);
        }
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        for (name, schema) in schemas {
            let earlier = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*earlier, schema, "{name} is two things");
        }
        assert!(known.len() > 50, "{}", known.len());
    }
}
