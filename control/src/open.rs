//! Opens what the control plane works on: the data folder, the key file, the database, and what a first start makes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use tracing::warn;

use crate::{
    api::ApiError,
    auth::{
        key_ring::KeyRing,
        rotation::MAX_TOKEN_LIFETIME_MS,
        seal::{SealError, Sealer, SecretKey, write_private},
    },
    clock::{Clock, millis},
    rules::{cache::watermark::Watermarks, identity::token::chosen_secret_fault, limits::Limits},
    store::{Store, StoreError, StoreSettings},
    usecases::{
        UseCaseError,
        first_start::{self, AdminToken, NodeToken},
        identity::{secret_key, signing_keys::SigningKeys},
    },
};

/// File of the database in the data folder.
pub(crate) const DATABASE: &str = "control.db";
/// File of the key that stored secrets are sealed with.
pub(crate) const KEY_FILE: &str = "secret.key";
/// File of the administrator's token, where it was made here.
pub(crate) const ADMIN_TOKEN_FILE: &str = "admin-token";

/// Settings of the control plane.
#[derive(Debug)]
pub struct ControlConfig {
    /// The folder for everything embedded; created if missing.
    pub data_dir: PathBuf,
    /// The database; `None` means `control.db` in the data folder.
    pub database_url: Option<String>,
    /// Most connections to PostgreSQL: 3 to 1000.
    pub database_pool_size: u32,
    /// Time that a call waits for the database, after which a silent one counts as gone.
    pub database_timeout: Duration,
    /// The key that stored secrets are sealed with, the same for all replicas.
    pub secret_key: SecretKey,
    /// Time for which a registry token is good: a second to a day.
    pub registry_token_lifetime: Duration,
    /// Time for which content without links is kept.
    pub gc_grace: Duration,
    /// Time for which audit events are kept.
    pub audit_retention: Duration,
    /// Between which fill levels the store is kept; `None` sets no bound.
    pub watermarks: Option<Watermarks>,
    /// The most that owners of groups can make.
    pub limits: Limits,
    /// The administrator's token at a first start; `None` makes one.
    pub admin_token: Option<SecretString>,
    /// A node token that is there from the start on, so that nodes can be deployed along with the control plane.
    pub bootstrap_node_token: Option<SecretString>,
}

impl ControlConfig {
    /// The defaults, for this data folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            database_url: None,
            database_pool_size: StoreSettings::POOL_SIZE,
            database_timeout: StoreSettings::TIMEOUT,
            secret_key: SecretKey::DataDir,
            registry_token_lifetime: Duration::from_secs(15 * 60),
            gc_grace: Duration::from_secs(3600),
            audit_retention: Duration::from_secs(400 * 24 * 3600),
            watermarks: None,
            limits: Limits::default(),
            admin_token: None,
            bootstrap_node_token: None,
        }
    }
}

/// News for the person who started the process.
#[derive(Debug)]
pub struct FirstStart {
    /// The administrator's token, if it was made now.
    pub admin_token: Option<SecretString>,
    /// The file that holds it, or would hold it.
    pub admin_token_file: PathBuf,
    /// True if the database was empty.
    pub is_first: bool,
}

/// The control plane cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting cannot be as it is.
    #[error("{0}")]
    Setting(String),
    /// The data folder cannot be used.
    #[error("--data-dir {path}: {source}", path = path.display())]
    DataDir {
        /// The folder or the file in it.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The content of the database cannot be used.
    #[error("the control plane's data cannot be used: {0}")]
    Content(#[from] UseCaseError),
    /// The services cannot be put together.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl OpenError {
    /// Returns whether other settings would help: exit code 2.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Setting(_) | Self::Store(StoreError::Url(_)))
    }
}

/// The opened database with its first content, and its keys.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) keys: SigningKeys,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) first_start: FirstStart,
}

/// Opens the data folder and the database, giving an empty one what it needs.
pub(crate) async fn open(config: &ControlConfig, clock: &Clock) -> Result<Opened, OpenError> {
    check(config)?;
    make_private_folder(&config.data_dir)?;
    let url = match &config.database_url {
        Some(url) => url.clone(),
        None => sqlite_url(&config.data_dir.join(DATABASE))?,
    };
    let pool_size = config.database_pool_size;
    let database = StoreSettings { pool_size, timeout: config.database_timeout, ..StoreSettings::new(url) };
    let store = Store::open(&database, clock).await?;
    let sealer = secret_key::open(&store, &config.secret_key, &config.data_dir.join(KEY_FILE)).await;
    let sealer = Arc::new(sealer.map_err(|error| match error {
        UseCaseError::Seal(error) => OpenError::Seal(error),
        UseCaseError::Store(error) => OpenError::Store(error),
        error => OpenError::Content(error),
    })?);
    let ring = Arc::<KeyRing>::default();
    let keys = SigningKeys::new(store.clone(), clock.clone(), sealer.clone(), ring.clone());
    let admin_token_file = config.data_dir.join(ADMIN_TOKEN_FILE);
    let keep = |secret: &SecretString| {
        let path = admin_token_file.clone();
        write_private(&path, &format!("{}\n", secret.expose_secret()))
            .map_err(|source| UseCaseError::Seal(SealError::File { path, source }))
    };
    let given = config.admin_token.as_ref();
    let (admin_token, is_first) = match first_start::start(&store, &keys, given, keep, clock.now_ms()).await? {
        AdminToken::Made(secret) => (Some(secret), true),
        AdminToken::Taken => (None, true),
        AdminToken::Kept => (None, false),
        AdminToken::KeptAnother => {
            warn!("ROADSTEAD_ADMIN_TOKEN differs from the administrator's token of the first start and is ignored");
            (None, false)
        }
    };
    if let Some(token) = &config.bootstrap_node_token
        && first_start::admit_node_token(&store, token, clock.now_ms()).await? == NodeToken::OfAnother
    {
        return Err(OpenError::Setting(
            "--bootstrap-node-token: this is a token of another kind; a node's starts with rs_node_, or is new"
                .to_owned(),
        ));
    }
    Ok(Opened { store, sealer, keys, ring, first_start: FirstStart { admin_token, admin_token_file, is_first } })
}

fn check(config: &ControlConfig) -> Result<(), OpenError> {
    let lifetime = config.registry_token_lifetime;
    if lifetime < Duration::from_secs(1) || millis(lifetime) > MAX_TOKEN_LIFETIME_MS {
        return Err(OpenError::Setting(format!(
            "--registry-token-lifetime {lifetime:?}: must be between a second and a day"
        )));
    }
    for (name, chosen) in
        [("--bootstrap-node-token", &config.bootstrap_node_token), ("ROADSTEAD_ADMIN_TOKEN", &config.admin_token)]
    {
        if let Some(fault) = chosen.as_ref().and_then(|chosen| chosen_secret_fault(chosen.expose_secret())) {
            return Err(OpenError::Setting(format!("{name}: {fault}")));
        }
    }
    Ok(())
}

fn make_private_folder(path: &Path) -> Result<(), OpenError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| OpenError::DataDir { path: path.to_owned(), source })
}

/// The URL of the SQLite database in this file.
pub(crate) fn sqlite_url(path: &Path) -> Result<String, OpenError> {
    let text = path.to_str().ok_or_else(|| {
        OpenError::Setting(format!("--data-dir {}: the path must be UTF-8 for the database in it", path.display()))
    })?;
    // Escaped: a path may hold what means something in a URL.
    let escaped: String = text
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    Ok(format!("sqlite://{escaped}"))
}
