//! Compiles the `.proto` files to Rust types, without `protoc`, and writes what is the same in the conversions
//! between them: a field of one name is one thing in every format.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

const ROOT: &str = "../../proto";
const FLOW: &str = "sluice/flow/v1/flow.proto";
/// The formats beside sluice's own: file, name here and Rust type.
const OTHERS: [(&str, &str, &str); 2] = [
    ("flowpipeline/enriched_flow.proto", "flowpipeline", "proto::flowpipeline::EnrichedFlow"),
    ("bwnetflow/flow_message.proto", "bwnetflow", "proto::bwnetflow::FlowMessage"),
];
/// Fields from this number on are sluice's own: the same in every format, and in no other `.proto` file.
const OWN: i32 = 10_000;

/// `FieldDescriptorProto.Label` and `.Type`.
type Kind = (i32, i32);
const REPEATED: i32 = 3;
const UINT32: i32 = 13;
const ENUM: i32 = 14;

fn main() -> Result<(), Box<dyn Error>> {
    let names = [FLOW, OTHERS[0].0, OTHERS[1].0];
    for name in names {
        println!("cargo:rerun-if-changed={ROOT}/{name}");
    }
    let mut files = protox::compile(names, [ROOT])?;
    let own = files.file.iter().find(|file| file.name() == FLOW).ok_or("no flow.proto")?;
    let own: Vec<_> = own.message_type[0].field.iter().filter(|field| field.number() >= OWN).cloned().collect();
    for file in files.file.iter_mut().filter(|file| file.name() != FLOW) {
        file.message_type[0].field.extend(own.clone());
        // Comments are found by position, and these have none.
        file.source_code_info = None;
    }

    let kinds = |name: &str| -> BTreeMap<String, Kind> {
        let file = files.file.iter().find(|file| file.name() == name);
        let fields = file.iter().flat_map(|file| &file.message_type[0].field);
        fields.map(|field| (field.name().to_owned(), (field.label() as i32, field.r#type() as i32))).collect()
    };
    let mut code = String::new();
    for (file, format, message) in OTHERS {
        shared(&mut code, &kinds(FLOW), &kinds(file), format, message)?;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    fs::write(out.join("shared.rs"), code)?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}

/// Writes two functions that move the fields which both messages have.
fn shared(
    code: &mut String,
    flow: &BTreeMap<String, Kind>,
    other: &BTreeMap<String, Kind>,
    format: &str,
    message: &str,
) -> Result<(), Box<dyn Error>> {
    let (mut reads, mut writes) = (String::new(), String::new());
    for (name, of_flow) in flow {
        let Some(of_other) = other.get(name) else { continue };
        let field = if name == "type" { "r#type" } else { name };
        let taken = format!("std::mem::take(&mut from.{field})");
        // Numbers here are enumerations there.
        let (read, write) = match (*of_flow, *of_other) {
            (here, there) if here == there => (taken.clone(), taken),
            ((REPEATED, UINT32), (REPEATED, ENUM)) => (
                format!("{taken}.into_iter().map(|value| value as u32).collect()"),
                format!("{taken}.into_iter().map(|value| value as i32).collect()"),
            ),
            ((_, UINT32), (_, ENUM)) => (format!("from.{field} as u32"), format!("from.{field} as i32")),
            kinds => return Err(format!("{name} of {format} has another type: {kinds:?}").into()),
        };
        writeln!(reads, "        {field}: {read},")?;
        writeln!(writes, "        {field}: {write},")?;
    }
    writeln!(
        code,
        "pub(super) fn shared_of_{format}(from: &mut {message}) -> Flow {{\n    Flow {{\n{reads}        ..Flow::default()\n    }}\n}}\n\
         pub(super) fn {format}_of_shared(from: &mut Flow) -> {message} {{\n    {message} {{\n{writes}        \
         ..{message}::default()\n    }}\n}}"
    )?;
    Ok(())
}
