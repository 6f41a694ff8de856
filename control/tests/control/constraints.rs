//! Every constraint that the contract states as an option (`buf.validate`) is held: a request that breaks it is refused with the
//! name of the field. The rules are checked by hand, after the caller's rights, so that the refusal can say what is wrong in
//! words; this test walks the contract and makes sure that no constraint is only written down.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Request, header::AUTHORIZATION};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use roadstead_proto::DESCRIPTORS;
use secrecy::ExposeSecret as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::{
    harness::{ADMIN_TOKEN, Plane, digest},
    rpcs::calls,
};

/// A way to break one constraint.
struct Break {
    /// From the request to the field.
    path: Vec<String>,
    /// The value; `None` clears the field.
    value: Option<Value>,
}

/// The options of `buf.validate` in the contract.
struct Rules {
    pool: DescriptorPool,
}

impl Rules {
    fn of_field(&self, field: &FieldDescriptor) -> Option<DynamicMessage> {
        self.option(&field.options(), "buf.validate.field")
    }

    fn option(&self, options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
        let extension = self.pool.get_extension_by_name(name).unwrap();
        let has = options.has_extension(&extension);
        has.then(|| options.get_extension(&extension).as_message().unwrap().clone())
    }

    /// Every way to break a constraint of a message, each alone.
    fn breaks(&self, message: &MessageDescriptor, above: &[String]) -> Vec<Break> {
        let mut found = Vec::new();
        for field in message.fields() {
            let path: Vec<_> = above.iter().cloned().chain([field.name().to_owned()]).collect();
            if let Some(rules) = self.of_field(&field) {
                let values = broken(&field, &rules);
                found.extend(values.into_iter().map(|value| Break { path: path.clone(), value }));
            }
            match field.kind() {
                Kind::Message(inner) if inner.full_name().starts_with("roadstead.") && above.len() < 4 => {
                    found.extend(self.breaks(&inner, &path));
                }
                _ => {}
            }
        }
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            if self.option(&oneof.options(), "buf.validate.oneof").is_some() {
                let path = above.iter().cloned().chain([oneof.name().to_owned()]).collect();
                found.push(Break { path, value: None });
            }
        }
        found
    }
}

fn has(rules: &DynamicMessage, name: &str) -> Option<Value> {
    rules.has_field_by_name(name).then(|| rules.get_field_by_name(name).unwrap().into_owned())
}

fn number(value: &Value) -> i64 {
    match value {
        Value::I32(number) => i64::from(*number),
        Value::I64(number) => *number,
        Value::U64(number) => i64::try_from(*number).unwrap(),
        Value::Message(duration) => duration.get_field_by_name("seconds").unwrap().as_i64().unwrap(),
        other => panic!("no number: {other:?}"),
    }
}

fn text(length: i64) -> Value {
    Value::String("a".repeat(usize::try_from(length).unwrap()))
}

/// Values that a field must not have.
fn broken(field: &FieldDescriptor, rules: &DynamicMessage) -> Vec<Option<Value>> {
    let mut values = Vec::new();
    if has(rules, "required").is_some() {
        values.push(None);
    }
    let kind = rules.fields().map(|(kind, _)| kind.name().to_owned()).find(|name| name != "required");
    let Some(kind) = kind else { return values };
    let rule = rules.get_field_by_name(&kind).unwrap().as_message().unwrap().clone();
    let below = ["gte", "min_len", "min_items"].into_iter().find_map(|name| has(&rule, name)).map(|v| number(&v) - 1);
    let above = ["lte", "max_len", "max_bytes", "max_items"].into_iter().find_map(|name| has(&rule, name));
    let above = above.map(|value| number(&value) + 1);
    match kind.as_str() {
        "string" => values.extend(below.into_iter().chain(above).map(text).map(Some)),
        "int32" | "int64" => {
            let of = |number: i64| match field.kind() {
                Kind::Int32 => Value::I32(i32::try_from(number).unwrap()),
                _ => Value::I64(number),
            };
            values.extend(below.into_iter().chain(above).map(of).map(Some));
            if has(&rule, "in").is_some() {
                values.push(Some(of(0)));
            }
        }
        "enum" => {
            values.push(Some(Value::EnumNumber(99)));
            if has(&rule, "not_in").is_some() {
                values.push(Some(Value::EnumNumber(0)));
            }
        }
        "bool" => values.push(Some(Value::Bool(false))),
        "duration" => {
            let Kind::Message(descriptor) = field.kind() else { panic!("{} is no duration", field.full_name()) };
            let of = |seconds: i64| {
                let mut duration = DynamicMessage::new(descriptor.clone());
                duration.set_field_by_name("seconds", Value::I64(seconds));
                Value::Message(duration)
            };
            values.extend(below.into_iter().chain(above).map(of).map(Some));
        }
        "repeated" => {
            let element = match field.kind() {
                Kind::Message(descriptor) => Value::Message(DynamicMessage::new(descriptor)),
                _ => Value::String("a".into()),
            };
            let many = |count: i64| Value::List(vec![element.clone(); usize::try_from(count).unwrap()]);
            values.extend(below.into_iter().chain(above).map(many).map(Some));
            if let Some(items) = has(&rule, "items") {
                let items = items.as_message().unwrap().get_field_by_name("string").unwrap().into_owned();
                let longest = has(items.as_message().unwrap(), "max_len").unwrap();
                values.push(Some(Value::List(vec![text(number(&longest) + 1)])));
            }
        }
        other => panic!("this test does not know how to break {other}: {}", field.full_name()),
    }
    values
}

/// Puts a value at the end of a path; messages on the way are made as they should be.
fn put(message: &mut DynamicMessage, path: &[String], value: Option<&Value>, group_id: &str) {
    let descriptor = message.descriptor();
    let Some(field) = descriptor.get_field_by_name(&path[0]) else {
        // A choice: none of its fields is set.
        let choice = descriptor.oneofs().find(|oneof| oneof.name() == path[0]).unwrap();
        choice.fields().for_each(|field| message.clear_field(&field));
        return;
    };
    if path.len() == 1 {
        match value {
            Some(value) => message.set_field(&field, value.clone()),
            None => message.clear_field(&field),
        }
        return;
    }
    let Kind::Message(inner) = field.kind() else { panic!("{} has no fields", field.full_name()) };
    let mut nested = match message.has_field(&field).then(|| message.get_field(&field).into_owned()) {
        Some(Value::Message(nested)) => nested,
        Some(Value::List(list)) if !list.is_empty() => list[0].as_message().unwrap().clone(),
        _ => good(&inner, group_id),
    };
    put(&mut nested, &path[1..], value, group_id);
    let nested = Value::Message(nested);
    message.set_field(&field, if field.is_list() { Value::List(vec![nested]) } else { nested });
}

/// A message whose fields are as they should be, by their names.
fn good(descriptor: &MessageDescriptor, group_id: &str) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().filter(|field| !field.is_list()) {
        let text = match field.name() {
            "digest" => digest("content"),
            "upstream" | "host" => "docker.io".into(),
            "repository" => "library/alpine".into(),
            "group_id" => group_id.into(),
            "tag" => "latest".into(),
            "pattern" => "alpine:*".into(),
            "peer_url" => "http://10.0.0.1:7073".into(),
            "node_id" => "0193a5c0-0000-7000-8000-000000000001".into(),
            "after_digest" | "lost_node_id" => String::new(),
            _ => "one".to_owned(),
        };
        match field.kind() {
            Kind::String if field.containing_oneof().is_none() => message.set_field(&field, Value::String(text)),
            Kind::Enum(_) => message.set_field(&field, Value::EnumNumber(1)),
            Kind::Message(inner) if inner.full_name().starts_with("roadstead.") => {
                let in_choice = field.containing_oneof().is_some();
                if !in_choice || field.name() == "found" {
                    message.set_field(&field, Value::Message(good(&inner, group_id)));
                }
            }
            _ => {}
        }
    }
    message
}

async fn call(plane: &Plane, method: &str, request: &DynamicMessage) -> Status {
    let token = match method.starts_with("roadstead.node.") {
        true => plane.control.embedded_node_token().expose_secret().to_owned(),
        false => ADMIN_TOKEN.to_owned(),
    };
    let request = request.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(request.len()).unwrap().to_be_bytes());
    body.extend(request);
    let request = Request::post(format!("/{method}"))
        .header("content-type", "application/grpc")
        .header(AUTHORIZATION, format!("Bearer {token}"));
    let answer = plane.control.router().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    Status::from_header_map(answer.headers()).unwrap_or_else(|| Status::ok(""))
}

/// Checks whether a refusal is for this field, or for the field or choice that contains it.
fn names(status: &Status, input: &MessageDescriptor, path: &[String]) -> bool {
    let found = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let choice = input.get_field_by_name(&path[0]).and_then(|field| field.containing_oneof());
    let choice = choice.map(|choice| choice.name().to_owned());
    let meant: Vec<_> = path.iter().rev().take(2).chain(&choice).collect();
    found.iter().any(|violation| violation.field.split(['.', '[', ']']).any(|part| meant.iter().any(|it| *it == part)))
}

/// A request of users as in the table of all RPCs, with what that leaves out to be refused later than the caller's rights.
fn of_user(input: &MessageDescriptor, known: &[u8]) -> DynamicMessage {
    let mut request = DynamicMessage::decode(input.clone(), known).unwrap();
    let input = input.name();
    if input == "CreateTrustRequest" {
        request.set_field_by_name("audience", Value::String("roadstead".into()));
    }
    if matches!(input, "PrefetchImageRequest" | "CreatePrefetchScheduleRequest") {
        request.set_field_by_name("image", Value::String("alpine:3.20".into()));
    }
    if input == "CreatePrefetchScheduleRequest" {
        let hourly = prost_types::Duration { seconds: 3600, nanos: 0 };
        request.set_field_by_name("every", Value::Message(hourly.transcode_to_dynamic()));
    }
    request
}

#[tokio::test]
async fn every_constraint_of_the_contract_is_held() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    plane.user("alice", false).await;
    let rules = Rules { pool: DescriptorPool::decode(DESCRIPTORS).unwrap() };
    let known: BTreeMap<&str, Vec<u8>> =
        calls(&plane, "acme", "alice").await.into_iter().rev().map(|call| (call.method, call.request)).collect();
    let (mut broken, mut kept) = (0, Vec::new());
    for method in rules.pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let name = format!("{}/{}", method.parent_service().full_name(), method.name());
        let input = method.input();
        for each in rules.breaks(&input, &[]) {
            let mut request = if name.starts_with("roadstead.node.") {
                good(&input, &group.id)
            } else {
                of_user(&input, &known[name.as_str()])
            };
            put(&mut request, &each.path, each.value.as_ref(), &group.id);
            let status = call(&plane, &name, &request).await;
            broken += 1;
            if status.code() != Code::InvalidArgument || !names(&status, &input, &each.path) {
                let value = each.value.map(|value| value.to_string().chars().take(40).collect::<String>());
                let said = status.message().chars().take(120).collect::<String>();
                kept.push(format!("{name} {} = {value:?}: {:?} {said}", each.path.join("."), status.code()));
            }
        }
    }
    assert!(broken > 100, "only {broken} constraints were found");
    assert!(kept.is_empty(), "{} of {broken} constraints are not held:\n{}", kept.len(), kept.join("\n"));
}
