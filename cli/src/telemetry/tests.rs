use super::*;

#[test]
fn spans_are_exported_only_where_the_environment_says_so() {
    for (variables, asked) in [
        (&[][..], false),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")], true),
        (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces")], true),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h"), ("OTEL_SDK_DISABLED", "true")], false),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h"), ("OTEL_TRACES_EXPORTER", "none")], false),
    ] {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        assert_eq!(is_export_enabled(variable), asked, "{variables:?}");
    }
}
