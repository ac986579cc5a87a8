use mainstay_core::load_report::{Report, members, parse};
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::config())]

    /// Whatever an endpoint sends, nothing panics, and what is read is to be believed.
    #[test]
    fn any_bytes_are_survived(
        form in prop_oneof![Just("TEXT "), Just("JSON "), Just("JSON {\"cpu_utilization\":"), Just("")],
        bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(),
            prop::sample::select(b"{}[]\",:=.0123456789e-+ _cpu".to_vec()),
        ], 0..200),
    ) {
        let value = [form.as_bytes(), &bytes].concat();
        for report in [parse(&value), members(&bytes)].into_iter().flatten() {
            let Report { cpu, memory, application, requests, errors } = report;
            for figure in [cpu, memory, application, requests, errors].into_iter().flatten() {
                prop_assert!(figure.is_finite() && figure >= 0.0, "{:?}", report);
            }
            prop_assert!(!report.is_empty() && memory.is_none_or(|share| share <= 1.0));
        }
    }

    /// What is written in either form is read as it was.
    #[test]
    fn both_forms_are_read_as_they_were_written(cpu in 0.0f32..100.0, memory in 0.0f32..=1.0, other in "[a-z{}\\[\\],: ]{0,20}") {
        let text = format!("TEXT cpu_utilization={cpu},mem_utilization={memory}");
        let json = format!("JSON {{\"named_metrics\": {{\"{other}\": [1, \"{other}\"]}}, \"cpu_utilization\": {cpu}, \"mem_utilization\": {memory}}}");
        let expected = Report { cpu: Some(cpu), memory: Some(memory), ..Report::default() };
        prop_assert_eq!(parse(text.as_bytes()), Some(expected));
        prop_assert_eq!(parse(json.as_bytes()), Some(expected));
    }
}
