//! Every line that can be emitted parses, is short and has the keys that the CLI looks for.

use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(
    level: LogLevel,
    refine: &str,
    work: impl FnOnce(),
) -> Vec<serde_json::Map<String, Value>> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::registry()
        .with(filter(level, refine).unwrap())
        .with(Json::new("test-source", move || writer.clone()));
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            assert!(line.len() < MAX_LINE_BYTES, "{} bytes", line.len());
            let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            let level = object["level"].as_str().unwrap();
            assert!(
                ["trace", "debug", "info", "warn", "error"].contains(&level),
                "{level}"
            );
            assert!(object.contains_key("message") && !object.contains_key("time"));
            assert_eq!(object["module"], "test-source");
            assert!(
                object.values().all(|v| !v.is_object() && !v.is_array()),
                "flat"
            );
            object
        })
        .collect()
}

#[test]
fn a_line_is_flat_and_has_the_fields_of_its_spans() {
    let lines = logged(LogLevel::Trace, "", || {
        let outer = tracing::info_span!(
            "outer",
            table = "t",
            key = "outer",
            late = tracing::field::Empty
        );
        let _outer = outer.enter();
        outer.record("late", 1.5);
        let _inner = tracing::info_span!("inner", key = "inner").entered();
        tracing::warn!(
            rows = 3u64,
            ok = true,
            grpc.code = "OK",
            time = 7,
            level = "x",
            "half {}",
            "done"
        );
        tracing::trace!("quote \" newline \n tab \t nul \0 é");
    });
    assert_eq!(lines[0]["level"], "warn");
    assert_eq!(lines[0]["message"], "half done");
    assert_eq!(lines[0]["table"], "t");
    assert_eq!(lines[0]["key"], "inner");
    assert_eq!(lines[0]["late"], 1.5);
    assert_eq!(lines[0]["rows"], 3);
    assert_eq!(lines[0]["ok"], true);
    assert_eq!(lines[0]["grpc.code"], "OK");
    assert_eq!(
        (&lines[0]["time_"], &lines[0]["level_"]),
        (&7.into(), &"x".into())
    );
    assert_eq!(lines[1]["message"], "quote \" newline \n tab \t nul \0 é");
}

#[test]
fn long_lines_are_cut_and_still_json() {
    let lines = logged(LogLevel::Info, "", || {
        for unit in ["a", "é", "\u{1}", "\"", "😀"] {
            let text = unit.repeat(10_000);
            tracing::error!("{text}");
            tracing::error!(error = text, other = %text, debug = ?text, "short");
        }
        for len in 3_900..4_100 {
            tracing::info!(text = "x".repeat(len), "edge");
        }
    });
    assert_eq!(lines.len(), 210);
    for line in &lines[..10] {
        let longest = line
            .values()
            .filter_map(Value::as_str)
            .map(str::len)
            .max()
            .unwrap();
        assert!(longest > 300, "not cut more than needed: {longest}");
    }
    assert_eq!(lines[1]["message"], "short", "short texts survive");
}

#[test]
fn many_fields_lose_the_last() {
    let fields = (0..400)
        .map(|_| ("a_field_with_a_long_name", Value::from(1)))
        .collect();
    let text = line(Level::ERROR, "m", fields);
    assert!(
        text.len() <= MAX_LINE_BYTES && text.starts_with("{\"level\":\"error\",\"message\":\"\"")
    );
    serde_json::from_str::<Value>(&text).unwrap();
}

#[test]
fn levels_and_refinement() {
    let emit = || {
        tracing::info!(target: "cq_anything", "ours");
        tracing::info!(target: "h2::codec", "theirs");
        tracing::warn!(target: "aws_config", "theirs, important");
        tracing::debug!(target: "cq_anything", "details");
    };
    let messages = |level, refine| -> Vec<String> {
        let lines = logged(level, refine, emit);
        lines
            .iter()
            .map(|l| l["message"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(messages(LogLevel::Info, ""), ["ours", "theirs, important"]);
    assert_eq!(messages(LogLevel::Error, ""), [""; 0]);
    assert_eq!(
        messages(LogLevel::Info, "h2=info"),
        ["ours", "theirs", "theirs, important"]
    );
    assert_eq!(messages(LogLevel::Error, "debug"), ["ours", "details"]);
    assert_eq!(
        messages(LogLevel::Error, " h2=info , debug\n"),
        ["ours", "theirs", "details"]
    );
    assert!(filter(LogLevel::Info, "no such = thing = at all").is_err());
}
