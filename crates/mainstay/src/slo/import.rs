//! Objectives of an OpenSLO file, as they are written in a configuration.

use std::path::Path;
use std::time::Duration;

use mainstay_gateway::state::BUCKETS;
use mainstay_observe::openslo::{self, BYTES_MAX, Import, Imported};

use crate::failure::Failure;

pub(super) fn import(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(format!("{}: {why}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > BYTES_MAX as u64 {
        return Err(failed(format!("it has {size} bytes, and at most {BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let import = openslo::read(&text).map_err(|error| {
        failed(error.to_string()).hint("OpenSLO v1 is read: documents with apiVersion: openslo/v1 and kind: SLO")
    })?;
    Ok(written(&import))
}

fn written(import: &Import) -> String {
    let mut text = String::new();
    for note in &import.notes {
        text.push_str(&format!("# {}\n", note.replace(['\n', '\r'], " ")));
    }
    if import.objectives.is_empty() {
        text.push_str("# there is no SLO in it that can be taken over\n");
    }
    for of in &import.objectives {
        text.push_str(&objective(of));
    }
    text
}

fn objective(of: &Imported) -> String {
    let (remark, good) = match of.threshold_seconds {
        None => (String::new(), "status < 500".to_owned()),
        Some(seconds) => {
            let bound = BUCKETS.into_iter().find(|bound| *bound + 1e-9 >= seconds);
            let bound = bound.unwrap_or(BUCKETS[BUCKETS.len() - 1]);
            let remark = if (bound - seconds).abs() < 1e-9 {
                String::new()
            } else {
                format!("# {seconds} s is not the bound of a bucket; the nearest that is\n")
            };
            (remark, format!("latency < {}ms", Duration::from_secs_f64(bound).as_millis()))
        }
    };
    let Imported { name, service, target_percent, window, .. } = of;
    let target = (target_percent * 1e6).round() / 1e6;
    format!(
        "\n{remark}[[objective]]\nname = \"{name}\"\nservice = \"{service}\"\ngood = \"{good}\"\ntarget = \"{target}%\"\nwindow = \
         \"{window}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let of = |name: &str, threshold_seconds| Imported {
            name: name.to_owned(),
            service: "app".to_owned(),
            threshold_seconds,
            target_percent: 0.999 * 100.0,
            window: "28d".to_owned(),
        };
        let objectives = vec![of("a", None), of("b", Some(0.5)), of("c", Some(0.3)), of("d", Some(60.0))];
        let text = written(&Import { objectives, notes: vec!["two\nlines".to_owned()] });
        assert!(text.contains("# two lines\n") && text.contains("target = \"99.9%\""), "{text}");
        assert_eq!(text.matches("# 0.3 s is not the bound").count(), 1);
        let base = "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\n[[service]]\nname = \"app\"\nendpoints = \
                    [\"127.0.0.1:3001\"]\n";
        let config = crate::config::parse(&format!("{base}{text}"), "imported", Path::new(""));
        assert_eq!(config.expect("it is a configuration").objectives.len(), 4);
    }
}
