//! Which of several stored responses a request selects (RFC 9111, section 4.1).

/// The fields of the request that a response depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// On something that no request shows.
    Everything,
    /// On these, in lower case, sorted, each once; often none.
    Fields(Vec<Box<[u8]>>),
}

impl Vary {
    /// Reads all lines of a `Vary` field.
    pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut fields: Vec<Box<[u8]>> = Vec::new();
        for member in lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
            if member == b"*" {
                return Self::Everything;
            }
            if !member.is_empty() {
                fields.push(member.to_ascii_lowercase().into());
            }
        }
        fields.sort();
        fields.dedup();
        Self::Fields(fields)
    }
}

/// Appends to `out` what a request says in the fields named by `names`: equal bytes for requests that select the same
/// response. Values are compared without the space around commas; a field that is absent differs from an empty one.
pub fn selecting<'a, I>(names: &[Box<[u8]>], fields: I, out: &mut Vec<u8>)
where
    I: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    for name in names {
        let mut is_there = false;
        for (_name, value) in fields.clone().filter(|(other, _value)| other.eq_ignore_ascii_case(name)) {
            // Neither byte can stand in a field's value, so that no value can be mistaken for another one's end.
            out.push(if is_there { b',' } else { 0x01 });
            is_there = true;
            for (index, member) in value.split(|byte| *byte == b',').enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(member.trim_ascii());
            }
        }
        out.push(0x00);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<Box<[u8]>> {
        match Vary::read([line.as_bytes()].into_iter()) {
            Vary::Fields(names) => names,
            Vary::Everything => panic!("{line}"),
        }
    }

    fn selected(vary: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        selecting(&names(vary), fields, &mut out);
        out
    }

    #[test]
    fn names_are_a_set() {
        assert_eq!(names("Accept, accept-language ,, ACCEPT"), names("accept-language,accept"));
        assert_eq!(names(""), names(" , "));
        let lines = [&b"accept"[..], b"x, *"];
        assert_eq!(Vary::read(lines.into_iter()), Vary::Everything);
    }

    #[test]
    fn requests_are_told_apart_by_the_named_fields_alone() {
        let gzip = selected("accept-encoding", &[("Accept-Encoding", "gzip, br"), ("cookie", "a")]);
        assert_eq!(gzip, selected("accept-encoding", &[("accept-encoding", "gzip ,br")]));
        assert_eq!(gzip, selected("accept-encoding", &[("accept-encoding", "gzip"), ("Accept-Encoding", "br")]));
        assert_ne!(gzip, selected("accept-encoding", &[("accept-encoding", "br, gzip")]));
        let (absent, empty) = (selected("a, b", &[("b", "1")]), selected("a, b", &[("a", ""), ("b", "1")]));
        assert_ne!(absent, empty);
        assert_ne!(selected("a, b", &[("a", "1")]), selected("a, b", &[("b", "1")]));
    }
}
