//! Traces by OTLP, to where the `OTEL_` variables of the environment say (OpenTelemetry specification, *SDK
//! environment variables*): what a miss waits for, mints, probes, reloads. A hit has no span.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// Where spans are sent.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// To the collector that the environment names; a span is sent within seconds, or when this is closed.
    ///
    /// # Errors
    /// If what it names is no address.
    pub fn of_environment() -> Result<Self, ExporterBuildError> {
        Ok(Self::to(SpanExporter::builder().with_http().build()?))
    }

    /// To any exporter.
    pub fn to(exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static) -> Self {
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("valet-server");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Self(provider.with_resource(resource.build()).build())
    }

    /// Takes the broker's spans; those of libraries are left out.
    pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        let tracer = self.0.tracer("valet-server");
        let ours = Targets::new().with_target("valet_server", LevelFilter::INFO);
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours)
    }

    /// Sends what is left.
    pub fn close(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
