//! Serves a folder of recordings over HTTP on a free port, as a web server would.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
    routing::get,
};
use tokio::net::TcpListener;

/// Recordings, and where they are served.
pub struct Recordings {
    url: String,
}

type Files = Arc<BTreeMap<String, Bytes>>;

impl Recordings {
    /// Reads `folder` once, and serves it until the process ends.
    ///
    /// # Errors
    /// If the folder cannot be read, or no port be had.
    pub async fn serve(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                files.insert(format!("/{name}"), Bytes::from(fs::read(entry.path())?));
            }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let files: Files = Arc::new(files);
        let router = Router::new().fallback(get(file)).with_state(files);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url })
    }

    /// The URL of a recording.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }
}

async fn file(State(files): State<Files>, uri: Uri) -> Result<Bytes, StatusCode> {
    files.get(uri.path()).cloned().ok_or(StatusCode::NOT_FOUND)
}
