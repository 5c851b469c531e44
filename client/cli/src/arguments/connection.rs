//! Where tokens come from.

use std::path::PathBuf;

use clap::Args;

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Where tokens come from")]
pub(crate) struct ConnectionArguments {
    /// The URL of the Valet broker, beginning with `https://`.
    #[arg(long, global = true, env = "VALET_URL")]
    pub(crate) url: Option<String>,
    /// The app's id at the broker.
    #[arg(long, global = true, env = "VALET_APP")]
    pub(crate) app: Option<String>,
    /// A file that holds the app's secret; without it, VALET_SECRET, or what `valet login` stored.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Calls DashScope at this URL (up to and with /api/v1) without a broker.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// With --base-url: the environment variable that holds the API key [default: DASHSCOPE_API_KEY].
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
}
