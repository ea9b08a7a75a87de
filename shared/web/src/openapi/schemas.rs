//! The component schemas of the document, derived from the types that requests are read into and replies are written from.
//!
//! A type that is both read and written has two schemas, because what a request may leave out is always in a reply. They share the
//! type's name if they are equal; otherwise the request's is named `...Input`.

use std::collections::BTreeSet;

use cells::query::{Metric, MetricRegistry};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Where references to replies' schemas point; all references do in the end.
const COMPONENTS: &str = "/components/schemas";
/// Where references to requests' schemas point until both sides are merged.
const REQUESTS: &str = "/components/requests";

/// The schemas that operations refer to so far.
pub(crate) struct Schemas {
    requests: SchemaGenerator,
    replies: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = |path: &str| {
            SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = path.to_owned().into())
        };
        Self {
            requests: settings(REQUESTS).for_deserialize().into_generator(),
            replies: settings(COMPONENTS).for_serialize().into_generator(),
        }
    }

    /// A reference to the schema of a type that requests are read into.
    pub(crate) fn of_request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of a type that replies are written from.
    pub(crate) fn of_reply<T: JsonSchema>(&mut self) -> Value {
        self.replies.subschema_for::<T>().to_value()
    }

    /// A query parameter for each property of a request's schema.
    pub(super) fn parameters_of(&self, reference: &Value) -> Vec<Value> {
        let name = reference["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        let schema = name.and_then(|name| self.requests.definitions().get(name));
        let Some(schema) = schema else { return Vec::new() };
        let is_required = |name: &str| {
            schema["required"].as_array().is_some_and(|required| required.iter().any(|one| one == name))
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties.map(|(name, property)| query_parameter(name, property, is_required(name))).collect()
    }

    /// Moves all schemas into the document, and lets all references point to them.
    pub(super) fn insert_into(mut self, document: &mut Value, metrics: &MetricRegistry) {
        let mut requests = self.requests.take_definitions(true);
        let mut schemas = self.replies.take_definitions(true);
        schemas.values_mut().for_each(remove_null_from_optional);
        let inputs = different_inputs(&requests, &schemas);
        for schema in requests.values_mut() {
            rename_references(schema, &inputs);
        }
        schemas.extend(requests.into_iter().map(|(name, schema)| (final_name(&name, &inputs), schema)));
        if let Some(Value::Object(schema)) = schemas.get_mut(super::query_language::METRIC_NAME) {
            let names: Vec<&str> = metrics.iter().map(Metric::name).collect();
            schema.insert("enum".to_owned(), json!(names));
        }
        rename_references(document, &inputs);
        if let Some(Value::Object(components)) = document.get_mut("components") {
            components.insert("schemas".to_owned(), Value::Object(schemas));
        }
        tidy(&mut document["components"]["schemas"]);
        tidy(&mut document["paths"]);
    }
}

/// The names of the requests' schemas that differ from the reply's schema of the same name, or refer to one that does.
fn different_inputs(requests: &Map<String, Value>, replies: &Map<String, Value>) -> BTreeSet<String> {
    let mut different = BTreeSet::new();
    loop {
        let is_new = |(name, schema): &(&String, &Value)| {
            let mut renamed = (*schema).clone();
            rename_references(&mut renamed, &different);
            !different.contains(*name) && replies.get(*name).is_some_and(|reply| *reply != renamed)
        };
        let found: Vec<String> = requests.iter().filter(is_new).map(|(name, _)| name.clone()).collect();
        if found.is_empty() {
            return different;
        }
        // A schema that refers to one of these now differs as well.
        different.extend(found);
    }
}

fn final_name(name: &str, inputs: &BTreeSet<String>) -> String {
    if inputs.contains(name) { format!("{name}Input") } else { name.to_owned() }
}

/// Lets references to requests' schemas point to the components of the document.
fn rename_references(value: &mut Value, inputs: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(&format!("#{REQUESTS}/"))
            {
                *reference = format!("#{COMPONENTS}/{}", final_name(name, inputs));
            }
            fields.values_mut().for_each(|value| rename_references(value, inputs));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rename_references(value, inputs)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes null from the fields that a reply may lack: such a field is left out instead of being null.
fn remove_null_from_optional(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            let required = keywords.get("required").cloned().unwrap_or(Value::Null);
            let is_required =
                |name: &String| required.as_array().is_some_and(|names| names.contains(&json!(name)));
            if let Some(Value::Object(properties)) = keywords.get_mut("properties") {
                for (_, property) in properties.iter_mut().filter(|(name, _)| !is_required(name)) {
                    *property = without_null(property.take());
                }
            }
            keywords.values_mut().for_each(remove_null_from_optional);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_null_from_optional),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Joins the lines of descriptions, since doc comments are wrapped for readers of the source, and removes formats that only Rust knows.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(description)) = fields.get_mut("description") {
                let paragraphs = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                *description = paragraphs.collect::<Vec<_>>().join("\n\n");
            }
            if fields.get("format").is_some_and(|format| format == "uint") {
                fields.remove("format");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A property of a request body as a parameter of the query string.
fn query_parameter(name: &str, property: &Value, is_required: bool) -> Value {
    let mut schema = without_null(property.clone());
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let mut parameter = json!({
        "in": "query",
        "name": name,
        "description": description.unwrap_or_else(|| "".into()),
        "required": is_required,
    });
    if schema["type"] == "array" {
        parameter["style"] = "form".into();
        parameter["explode"] = false.into();
    } else if schema.get("$ref").is_some() {
        // A nested object has no form in a query string: the short form takes its place.
        schema = filters();
    }
    parameter["schema"] = schema;
    parameter
}

/// The schema of filters in a query string: `provider:gmail`, repeated for more values and dimensions.
pub(crate) fn filters() -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": "^[a-z_0-9]+:.+$" } })
}

/// The schema without the null that stands for a field that is left out. A query string has no null.
fn without_null(mut schema: Value) -> Value {
    let Value::Object(fields) = &mut schema else { return schema };
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            fields.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = fields.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(mut options)) = fields.remove("anyOf") {
        options.retain(|option| option["type"] != "null");
        match (options.pop(), options.is_empty()) {
            (Some(Value::Object(only)), true) => fields.extend(only),
            (last, _) => {
                options.extend(last);
                fields.insert("anyOf".to_owned(), options.into());
            }
        }
    }
    schema
}

/// Defines a type that stands for one of a few names, for fields that hold the name as text. The names come from the enumeration that
/// defines them.
macro_rules! one_of {
    ($(#[$attribute:meta])* $name:ident, $names:expr) => {
        $(#[$attribute])*
        pub(crate) struct $name;

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": $names })
            }
        }
    };
}
pub(crate) use one_of;

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(object: &Value) -> Map<String, Value> {
        object.as_object().unwrap().clone()
    }

    #[test]
    fn request_schema_is_named_input_if_it_or_what_it_refers_to_differs_from_the_reply() {
        let reference = |name: &str| json!({ "$ref": format!("#{REQUESTS}/{name}") });
        let reply_reference = |name: &str| json!({ "$ref": format!("#{COMPONENTS}/{name}") });
        let requests = schemas(&json!({
            "Same": {"type": "string"}, "Leaf": {"type": "object"}, "Branch": {"items": reference("Leaf")},
            "Holder": {"items": reference("Same")}, "Own": {"type": "null"},
        }));
        let replies = schemas(&json!({
            "Same": {"type": "string"}, "Leaf": {"type": "object", "required": ["a"]},
            "Branch": {"items": reply_reference("Leaf")}, "Holder": {"items": reply_reference("Same")},
        }));
        let different = different_inputs(&requests, &replies);
        assert_eq!(Vec::from_iter(&different), ["Branch", "Leaf"]);
        let mut branch = requests["Branch"].clone();
        rename_references(&mut branch, &different);
        assert_eq!(branch, json!({ "items": reply_reference("LeafInput") }));
    }

    #[test]
    fn optional_field_of_a_reply_is_never_null() {
        let nullable = || json!({ "type": ["string", "null"] });
        let mut schema = json!({
            "properties": {"always": nullable(), "sometimes": nullable()}, "required": ["always"],
        });
        remove_null_from_optional(&mut schema);
        assert_eq!(schema["properties"], json!({"always": nullable(), "sometimes": {"type": "string"}}));
    }

    #[test]
    fn query_parameter_has_no_null() {
        for (property, expected) in [
            (
                json!({"type": ["string", "null"], "enum": ["a", null]}),
                json!({"type": "string", "enum": ["a"]}),
            ),
            (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), json!({"type": "integer"})),
            (json!({"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}), filters()),
        ] {
            assert_eq!(query_parameter("x", &property, false)["schema"], expected, "{property}");
        }
        let list = query_parameter("x", &json!({"type": "array", "description": "Names."}), true);
        assert_eq!((&list["explode"], &list["required"]), (&json!(false), &json!(true)));
        assert_eq!(list["description"], "Names.");
    }
}
