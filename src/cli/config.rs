//! Finding the spec in a file: a CloudQuery config of several YAML documents, or the bare spec.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Why a file holds no usable spec.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not valid YAML: {text}")]
    Yaml { path: PathBuf, text: String },
    #[error("{path}: environment variable {name} is not set")]
    Variable { path: PathBuf, name: String },
    #[error(
        "{0} holds neither a CloudQuery source (`kind: source`) nor a bare spec with a `bucket`"
    )]
    Nothing(PathBuf),
    #[error("{path} has no source named {name:?}: it has {}", known.join(", "))]
    NoSuchSource {
        path: PathBuf,
        name: String,
        known: Vec<String>,
    },
    #[error("{path} has several sources ({}): choose one with --source", known.join(", "))]
    Several { path: PathBuf, known: Vec<String> },
}

/// Reads the spec of the source named `source`, or of the only one.
pub(super) fn load(path: &Path, source: Option<&str>) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let text =
        expand(&text, |name| std::env::var(name).ok()).map_err(|name| ConfigError::Variable {
            path: path.to_owned(),
            name,
        })?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|e| ConfigError::Yaml {
            path: path.to_owned(),
            text: e.to_string(),
        })?;
    choose(path, &documents, source)
}

fn choose(path: &Path, documents: &[Value], wanted: Option<&str>) -> Result<Value, ConfigError> {
    if let [bare] = documents
        && bare.get("kind").is_none()
        && bare.get("bucket").is_some()
    {
        return Ok(bare.clone());
    }
    let sources: Vec<&Value> = documents
        .iter()
        .filter(|doc| doc.get("kind").and_then(Value::as_str) == Some("source"))
        .filter_map(|doc| doc.get("spec"))
        .collect();
    let name = |source: &Value| {
        source
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let known: Vec<String> = sources.iter().map(|source| name(source)).collect();
    let path = path.to_owned();
    let chosen = match (wanted, sources.as_slice()) {
        (_, []) => return Err(ConfigError::Nothing(path)),
        (None, [only]) => only,
        (None, _) => return Err(ConfigError::Several { path, known }),
        (Some(wanted), _) => match sources.iter().find(|source| name(source) == wanted) {
            Some(found) => found,
            None => {
                return Err(ConfigError::NoSuchSource {
                    path,
                    name: wanted.to_owned(),
                    known,
                });
            }
        },
    };
    Ok(chosen.get("spec").cloned().unwrap_or(Value::Null))
}

/// Replaces `${NAME}` by the environment variable, as CloudQuery does; an unset one is returned as the error.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        out.push_str(&variable(name).ok_or_else(|| name.to_owned())?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str, source: Option<&str>) -> Result<Value, String> {
        let documents = serde_saphyr::from_multiple(yaml).unwrap();
        choose(Path::new("f.yml"), &documents, source).map_err(|e| e.to_string())
    }

    #[test]
    fn a_spec_is_found_in_every_form() {
        let source = |name: &str| {
            format!(
                "kind: source\nspec:\n  name: {name}\n  registry: grpc\n  spec:\n    bucket: {name}\n"
            )
        };
        let destination = "kind: destination\nspec:\n  name: pg\n";
        let bucket = |found: Result<Value, String>| {
            found.map(|spec| spec["bucket"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(bucket(read("bucket: x\n", None)), Ok("x".to_owned()));
        assert_eq!(
            bucket(read(&format!("{}---\n{destination}", source("a")), None)),
            Ok("a".to_owned())
        );
        let two = format!("{}---\n{}---\n{destination}", source("a"), source("b"));
        assert_eq!(bucket(read(&two, Some("b"))), Ok("b".to_owned()));
        assert!(
            read(&two, None)
                .unwrap_err()
                .contains("choose one with --source")
        );
        assert!(read(&two, Some("c")).unwrap_err().contains("it has a, b"));
        assert!(read(destination, None).unwrap_err().contains("neither"));
    }

    #[test]
    fn variables_are_replaced_or_named() {
        let known = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(
            expand("x: ${A}, ${A}$ {", known),
            Ok("x: 1, 1$ {".to_owned())
        );
        assert_eq!(expand("x: ${B}", known), Err("B".to_owned()));
    }
}
