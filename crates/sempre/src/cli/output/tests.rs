use std::sync::{Arc, Mutex};

use sempre_api::v1::common::WorkflowExecution;
use serde_json::json;

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `write` writes in a format.
fn written(format: Format, write: impl FnOnce(&mut Output) -> Result<(), Failure>) -> String {
    let sink = Sink::default();
    let flags = CommonFlags { output: Some(format), ..CommonFlags::default() };
    let mut output = Output::new(&flags, true, true, 0).writing_to(Box::new(sink.clone()));
    write(&mut output).unwrap();
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_record_is_a_card_or_an_object() {
    let record = || vec![("workflowId", json!("a")), ("count", json!(2)), ("nothing", Value::Null)];
    assert_eq!(written(Format::Text, |out| out.record(record())), "  WorkflowId  a\n  Count       2\n");
    assert_eq!(written(Format::Jsonl, |out| out.record(record())), "{\"workflowId\":\"a\",\"count\":2,\"nothing\":null}\n");
    assert_eq!(written(Format::None, |out| out.record(record())), "");
}

#[test]
fn a_list_is_one_document_or_a_line_each() {
    let run = |id: &str| WorkflowExecution { workflow_id: id.into(), run_id: String::new() };
    let list = |out: &mut Output| {
        out.begin_list()?;
        out.message(&run("a"))?;
        out.message(&run("b"))?;
        out.end_list()
    };
    let text = written(Format::Json, list);
    assert_eq!(text, "[\n  {\n    \"workflowId\": \"a\"\n  },\n  {\n    \"workflowId\": \"b\"\n  }\n]\n");
    assert_eq!(written(Format::Jsonl, list), "{\"workflowId\":\"a\"}\n{\"workflowId\":\"b\"}\n");
    let empty = |out: &mut Output| out.begin_list().and_then(|()| out.end_list());
    assert_eq!((written(Format::Json, empty), written(Format::Jsonl, empty)), ("[]\n".into(), String::new()));
    assert_eq!(written(Format::Text, list), "");
}

#[test]
fn lines_are_for_people_only() {
    let lines = |out: &mut Output| out.title("Runs:").and_then(|()| out.line("one"));
    assert_eq!(written(Format::Text, lines), "Runs:\none\n");
    assert_eq!(written(Format::Json, lines) + &written(Format::None, lines), "");
}

#[test]
fn short_names_of_enum_values() {
    assert_eq!(short_name("WORKFLOW_EXECUTION_STATUS_TIMED_OUT", "WORKFLOW_EXECUTION_STATUS_"), "TimedOut");
    assert_eq!(short_name("BATCH_OPERATION_STATE_UNSPECIFIED", "BATCH_OPERATION_STATE_"), "");
}
