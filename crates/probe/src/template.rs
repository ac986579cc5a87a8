//! Texts with names of captured values in them: `/orders/{id}`.

/// A text in which `{name}` stands for a value that an earlier step captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

/// How a value is written where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// Into the path of a request: what has a meaning there is percent-encoded, unless the value is the whole beginning of it.
    Path,
    /// Into a JSON string.
    Json,
}

impl Template {
    /// Reads a text. Braces around anything but a name (letters, digits and `_`) stand for themselves.
    pub fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let (mut plain, mut rest) = (String::new(), text);
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            plain.push_str(before);
            let name = from.get(1..).and_then(|inner| inner.split_once('}')).map(|(name, _after)| name);
            match name.filter(|name| is_name(name)) {
                Some(name) => {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Name(name.to_owned()));
                    rest = from.get(name.len() + 2..).unwrap_or_default();
                }
                None => {
                    plain.push('{');
                    rest = from.get(1..).unwrap_or_default();
                }
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| *part != Part::Text(String::new()));
        Self(parts)
    }

    /// The names in it, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Whether a value stands at its beginning.
    pub fn starts_with_name(&self) -> bool {
        matches!(self.0.first(), Some(Part::Name(_)))
    }

    /// The text with its values. A name without one stands for itself.
    pub fn fill(&self, values: &[(String, String)], form: Form) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => match values.iter().rev().find(|(known, _value)| known == name) {
                    Some((_name, value)) => write(&mut out, value, form),
                    None => out.extend(["{", name, "}"]),
                },
            }
        }
        out
    }
}

/// Whether this can be the name of a captured value.
pub fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_letter) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn write(out: &mut String, value: &str, form: Form) {
    match form {
        Form::Plain => out.push_str(value),
        // A `location` is a path, or a URL that holds one.
        Form::Path if out.is_empty() => match path_of(value) {
            Some(path) => out.push_str(path),
            None => write_encoded(out, value),
        },
        Form::Path => write_encoded(out, value),
        Form::Json => {
            let quoted = serde_json::Value::from(value).to_string();
            out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        }
    }
}

fn path_of(value: &str) -> Option<&str> {
    let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"));
    let path = match rest {
        Some(rest) => rest.get(rest.find('/')?..)?,
        None => value,
    };
    let path = path.split('#').next()?;
    (path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())).then_some(path)
}

fn write_encoded(out: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, form: Form) -> String {
        let values = [("id", "7/ä"), ("next", "http://shop.test/orders/9?x=1#top"), ("word", "a\"b"), ("id", "8 1")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Template::parse(text).fill(&values, form)
    }

    #[test]
    fn values_are_written_so_that_they_stay_values() {
        for (text, form, expected) in [
            ("/orders/{id}/x", Form::Path, "/orders/8%201/x"),
            ("{next}", Form::Path, "/orders/9?x=1"),
            ("/go?to={next}", Form::Path, "/go?to=http%3A%2F%2Fshop.test%2Forders%2F9%3Fx%3D1%23top"),
            ("{id}", Form::Path, "8%201"),
            ("{\"a\": \"{word}\"}", Form::Json, "{\"a\": \"a\\\"b\"}"),
            ("Bearer {id}", Form::Plain, "Bearer 8 1"),
            ("{gone} {not a name} {} { {1} }{", Form::Plain, "{gone} {not a name} {} { {1} }{"),
            ("{{id}}", Form::Plain, "{8 1}"),
            ("", Form::Plain, ""),
        ] {
            assert_eq!(fill(text, form), expected, "{text}");
        }
        assert_eq!(Template::parse("{a}-{b} { c }").names().collect::<Vec<_>>(), ["a", "b"]);
    }
}
