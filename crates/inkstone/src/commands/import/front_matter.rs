//! The head of a Markdown file: YAML between `---`, TOML between `+++`, or a JSON object.

use serde_json::{Map, Value};

/// The fields of a head.
pub(super) type Fields = Map<String, Value>;

/// A head that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// In which line of the file, from 1.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) reason: String,
}

/// Reads the fields between the two lines that mark a head.
type Parse = fn(&str) -> Result<Fields, Broken>;

/// Takes a file apart into the fields of its head and its text. A file without a head has no fields.
pub(super) fn split(file: &str) -> Result<(Fields, &str), Broken> {
    let file = file.strip_prefix('\u{feff}').unwrap_or(file);
    if file.starts_with('{') {
        return split_json(file);
    }
    let first = file.lines().next().unwrap_or_default().trim_end();
    let (closers, parse): (&[&str], Parse) = match first {
        "---" => (&["---", "..."], parse_yaml),
        "+++" => (&["+++"], parse_toml),
        _ => return Ok((Fields::new(), file)),
    };
    let mut offset = 0;
    let start = file.find('\n').map_or(file.len(), |end| end + 1);
    for line in file[start..].split_inclusive('\n') {
        if closers.contains(&line.trim_end()) {
            let fields = parse(&file[start..start + offset])
                // The head begins in the second line.
                .map_err(|broken| Broken { line: broken.line + 1, ..broken })?;
            return Ok((fields, text_after(&file[start + offset + line.len()..])));
        }
        offset += line.len();
    }
    Err(Broken { line: 1, reason: format!("the front matter that begins with {first} does not end") })
}

/// The empty lines between head and text belong to neither.
fn text_after(rest: &str) -> &str {
    rest.trim_start_matches(['\r', '\n'])
}

fn parse_yaml(text: &str) -> Result<Fields, Broken> {
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null) => Ok(Fields::new()),
        Ok(_) => Err(Broken { line: 1, reason: "the front matter is not made of `key: value` pairs".to_owned() }),
        Err(error) => Err(Broken {
            line: error.location().and_then(|location| usize::try_from(location.line()).ok()).unwrap_or(1),
            reason: reason(&error.without_snippet().to_string()),
        }),
    }
}

fn parse_toml(text: &str) -> Result<Fields, Broken> {
    match toml::from_str::<toml::Table>(text) {
        Ok(table) => Ok(table.into_iter().map(|(key, value)| (key, json_of(value))).collect()),
        Err(error) => Err(Broken {
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            reason: reason(error.message()),
        }),
    }
}

fn split_json(file: &str) -> Result<(Fields, &str), Broken> {
    let mut values = serde_json::Deserializer::from_str(file).into_iter::<Fields>();
    match values.next() {
        Some(Ok(fields)) => Ok((fields, text_after(&file[values.byte_offset()..]))),
        Some(Err(error)) => Err(Broken { line: error.line().max(1), reason: reason(&error.to_string()) }),
        None => Ok((Fields::new(), file)),
    }
}

fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(at) => Value::String(at.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json_of).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, json_of(value))).collect())
        }
    }
}

/// The line of a text, from 1, that a byte stands in.
fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1)
}

/// What a parser says in its first line, without the place (some count from the start of the head,
/// and we name the line of the file) and without advice to programmers.
fn reason(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    let text = text.rsplit_once(" at line ").map_or(text, |(before, _)| before);
    let text = text.split_once(", set DuplicateKeyPolicy").map_or(text, |(before, _)| before);
    text.trim_end_matches([' ', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;

    use super::*;

    fn fields(file: &str) -> (Value, &str) {
        let (fields, text) = split(file).unwrap();
        (Value::Object(fields), text)
    }

    #[test]
    fn reads_yaml_toml_and_json() {
        let expected = json!({"title": "A title", "tags": ["a", "b"], "draft": true, "date": "2020-01-02"});
        for file in [
            "---\ntitle: A title\ntags: [a, b]\ndraft: true\ndate: 2020-01-02\n---\n\nText\n",
            "---\ntitle: A title\ntags: [a, b]\ndraft: true\ndate: 2020-01-02\n...\nText\n",
            "\u{feff}---  \r\ntitle: \"A title\"\r\ntags:\r\n- a\r\n- b\r\ndraft: true\r\ndate: 2020-01-02\r\n---\r\nText\n",
            "+++\ntitle = \"A title\"\ntags = [\"a\", \"b\"]\ndraft = true\ndate = 2020-01-02\n+++\nText\n",
            "{\"title\": \"A title\", \"tags\": [\"a\", \"b\"], \"draft\": true, \"date\": \"2020-01-02\"}\n\nText\n",
        ] {
            assert_eq!(fields(file), (expected.clone(), "Text\n"), "{file}");
        }
    }

    #[test]
    fn a_file_without_a_head_is_all_text() {
        for file in ["", "Text", "# Heading\n\n---\n\nText", "--- no\n"] {
            assert_eq!(fields(file), (json!({}), file));
        }
        assert_eq!(fields("---\n---\nText"), (json!({}), "Text"));
        assert_eq!(fields("---\n# nothing\n---\n"), (json!({}), ""));
    }

    #[test]
    fn a_line_within_the_text_does_not_end_the_head_again() {
        assert_eq!(fields("+++\na = 1\n+++\nb\n+++\nc\n").1, "b\n+++\nc\n");
    }

    #[test]
    fn a_broken_head_names_its_line() {
        for (file, line) in [
            ("---\ntitle: x\n\nText", 1),
            ("---\ntitle: x\nbad: [1, 2\n---\nText", 3),
            ("---\ntitle: x\ntitle: y\n---\nText", 3),
            ("---\n- a\n- b\n---\nText", 2),
            ("+++\ntitle = \"x\"\nbad =\n+++\nText", 3),
            ("+++\ntitle = \"x\"\ntitle = \"y\"\n+++\nText", 3),
            ("{\n\"title\": \"x\",\n\"bad\"\n}\nText", 4),
            ("{\n\"title\": ", 2),
        ] {
            let broken = split(file).unwrap_err();
            assert!(!broken.reason.is_empty() && !broken.reason.contains('\n'), "{broken:?}");
            assert!(!broken.reason.contains(" line ") && !broken.reason.contains("Policy"), "{broken:?}");
            // Parsers differ in whether they name the line of the mistake or the one after it.
            assert!(broken.line.abs_diff(line) <= 1, "{file:?}: {broken:?}");
        }
    }

    #[test]
    fn a_head_cannot_grow_out_of_all_proportion() {
        let mut bomb = "---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let items = vec![format!("*a{}", i - 1); 10].join(", ");
            writeln!(bomb, "a{i}: &a{i} [{items}]").unwrap();
        }
        assert!(split(&(bomb + "---\n")).is_err());
        assert!(split(&format!("---\na: {}\n---\n", "[".repeat(100_000))).is_err());
        assert!(split(&format!("+++\na = {}\n+++\n", "[".repeat(100_000))).is_err());
        assert!(split(&format!("{{\"a\": {}", "[".repeat(100_000))).is_err());
    }
}
