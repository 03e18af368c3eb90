//! Objects of a lake: data files, snapshots, deletion vectors, layouts.
//!
//! [`open`] makes a store of an address, `layout` spells every object path, `put` writes with
//! known outcome, `read` reads with our error kinds. Objects are created once and never changed.

mod address;
mod cloud;
pub mod fault;
mod folders;
pub mod layout;
mod local;
mod options;
mod probe;
mod put;
mod ranges;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientConfigKey, ObjectStore};

pub use address::Address;
pub use folders::{Leftover, folders, leftovers};
pub use local::LocalStore;
pub use options::{PythonNames, from_python_names};
pub use probe::{Probe, probe};
pub use put::{PutCreate, Retries, put_create, put_create_with, put_overwrite, put_unique};
pub use read::{
    delete, error_of, exists, get, get_existing, get_range, get_ranges, list, object_path, size,
};

use self::cloud::{CloudLimits, CloudStore};
use crate::config::Secret;
use crate::error::{Error, Result};

/// A shared object store.
pub type Objects = Arc<dyn ObjectStore>;

/// Options of a store by `object_store` name (`aws_endpoint`, ...) or by the Python library's
/// name (`STORAGE_ENDPOINT_URL`, ...).
pub type StoreOptions = BTreeMap<String, Secret>;

/// Opens the store at `url`: a directory, `file://`, `s3://bucket/prefix`, `gs://bucket/prefix`,
/// `az://container/prefix` or `memory:` (a new empty one with each call). An empty `url` takes
/// the address from the Python library's option names.
///
/// A local directory is created if it does not exist; nothing is asked of a cloud store yet.
///
/// # Errors
/// `Invalid` if the address or an option is wrong, `Denied`, `Full`, `ReadOnly` or `Unavailable`
/// if a local directory cannot be used.
pub fn open(url: &str, options: &StoreOptions) -> Result<Objects> {
    let named = from_python_names(options)?;
    let url = if url.is_empty() { named.url.as_deref().unwrap_or_default() } else { url };
    match Address::parse(url)? {
        Address::Local(directory) => Ok(Arc::new(LocalStore::open(&directory)?)),
        Address::Memory => Ok(Arc::new(InMemory::new())),
        Address::S3 { bucket, prefix } => s3(&bucket, &prefix, named.options),
        Address::Gcs { bucket, prefix } => gcs(&bucket, &prefix, named.options),
        Address::Azure { container, prefix } => azure(&container, &prefix, named.options),
    }
}

/// Says that there is no lake at a location.
pub fn no_lake(url: &str) -> Error {
    Error::not_found(
        "there is no lake here; make one with `mountable init`, or check the location and the \
         catalogue",
    )
    .with("lake", url)
}

/// Checks, without making anything, that a local directory can be a lake; `embedded` = its
/// catalogue is a file in it. Other locations are checked by opening them.
///
/// # Errors
/// `NotFound` if it cannot.
pub fn check_present(url: &str, embedded: bool) -> Result<()> {
    let Ok(Address::Local(directory)) = Address::parse(url) else { return Ok(()) };
    let present = if embedded {
        directory.join(layout::LAKE_MARKER).exists()
            || directory.join(layout::EMBEDDED_CATALOG).exists()
    } else {
        directory.is_dir()
    };
    if present { Ok(()) } else { Err(no_lake(url)) }
}

/// Makes the directory of a local lake that is to be created; a place that holds other files is
/// left alone.
///
/// # Errors
/// `Invalid` if the directory holds files but no lake, or as the file system's.
pub fn prepare(url: &str) -> Result<()> {
    let Address::Local(directory) = Address::parse(url)? else { return Ok(()) };
    std::fs::create_dir_all(&directory)
        .map_err(|error| Error::from(error).with("directory", directory.display()))?;
    let is_lake = directory.join(layout::LAKE_MARKER).exists();
    let mut others = std::fs::read_dir(&directory)?.flatten().filter(|entry| {
        // The catalogue's directory may be there before the marker.
        entry.file_name() != ".mountable" && entry.file_name() != "lost+found"
    });
    if !is_lake && others.next().is_some() {
        return Err(Error::invalid("the directory holds other files; choose an empty one")
            .with("directory", directory.display()));
    }
    Ok(())
}

/// The directory of a lake that lies in one.
pub fn local_directory(url: &str) -> Option<std::path::PathBuf> {
    match Address::parse(url) {
        Ok(Address::Local(directory)) => Some(directory),
        _ => None,
    }
}

fn s3(bucket: &str, prefix: &str, mut options: StoreOptions) -> Result<Objects> {
    let limits = CloudLimits::take(&mut options)?;
    let mut builder = AmazonS3Builder::new()
        .with_client_options(cloud::client())
        .with_retry(limits.retry())
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    for (name, value) in &options {
        let key = name.parse().map_err(|_| unknown_option(name, "S3"))?;
        builder = builder.with_config(key, value.reveal());
    }
    encrypted(
        builder.get_config_value(&AmazonS3ConfigKey::Endpoint),
        builder.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)),
    )?;
    let store = builder.with_bucket_name(bucket).build().map_err(|e| not_built(&e, "S3"))?;
    Ok(prefixed(store, prefix, &limits))
}

fn gcs(bucket: &str, prefix: &str, mut options: StoreOptions) -> Result<Objects> {
    let limits = CloudLimits::take(&mut options)?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_client_options(cloud::client())
        .with_retry(limits.retry());
    for (name, value) in &options {
        let key = name.parse().map_err(|_| unknown_option(name, "Google Cloud Storage"))?;
        builder = builder.with_config(key, value.reveal());
    }
    let store = builder
        .with_bucket_name(bucket)
        .build()
        .map_err(|e| not_built(&e, "Google Cloud Storage"))?;
    Ok(prefixed(store, prefix, &limits))
}

fn azure(container: &str, prefix: &str, mut options: StoreOptions) -> Result<Objects> {
    let limits = CloudLimits::take(&mut options)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(cloud::client())
        .with_retry(limits.retry());
    for (name, value) in &options {
        let key = name.parse().map_err(|_| unknown_option(name, "Azure"))?;
        builder = builder.with_config(key, value.reveal());
    }
    encrypted(
        builder.get_config_value(&AzureConfigKey::Endpoint),
        builder.get_config_value(&AzureConfigKey::Client(ClientConfigKey::AllowHttp)),
    )?;
    let store =
        builder.with_container_name(container).build().map_err(|e| not_built(&e, "Azure"))?;
    Ok(prefixed(store, prefix, &limits))
}

/// Without encryption only if that was asked for.
fn encrypted(endpoint: Option<String>, allow_http: Option<String>) -> Result<()> {
    let plain = endpoint.filter(|url| url.trim().to_ascii_lowercase().starts_with("http://"));
    let asked = allow_http.is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1");
    match plain {
        Some(url) if !asked => Err(Error::invalid(
            "endpoint of the storage is not encrypted: use https://, or set storage.allow_http",
        )
        .with("endpoint", crate::config::redact_url(&url))),
        _ => Ok(()),
    }
}

/// Whether the lake at `url` is in a cloud.
pub fn is_cloud(url: &str) -> bool {
    !matches!(Address::parse(url), Ok(Address::Local(_) | Address::Memory) | Err(_))
}

/// Finds out whether the store honours create-only puts, on which the commit protocol stands. The
/// stores of clouds ask by themselves before the first put; this only asks early.
///
/// # Errors
/// `Unsupported` if it does not; else as [`put_create`].
pub async fn check_create_only(objects: &Objects) -> Result<()> {
    let probe = layout::CREATE_ONLY_PROBE;
    put_create(objects, probe, bytes::Bytes::new()).await.map(|_| ())
}

/// The proof of create-only puts goes to the prefix, too: the rights may end there.
fn prefixed(store: impl ObjectStore, prefix: &str, limits: &CloudLimits) -> Objects {
    if prefix.is_empty() {
        Arc::new(CloudStore::new(store, limits))
    } else {
        Arc::new(CloudStore::new(PrefixStore::new(store, Path::from(prefix)), limits))
    }
}

fn unknown_option(name: &str, store: &'static str) -> Error {
    Error::invalid("storage option is not known for this kind of store")
        .with("option", name)
        .with("store", store)
}

/// Only the builder's own text: it names the missing or wrong option, never a value of a secret.
fn not_built(error: &object_store::Error, store: &'static str) -> Error {
    Error::invalid("storage options are not usable")
        .with("store", store)
        .caused_by(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> StoreOptions {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect()
    }

    #[test]
    fn cloud_stores_open_without_a_request() {
        let s3 = options(&[
            ("aws_access_key_id", "id"),
            ("aws_secret_access_key", "very-secret"),
            ("aws_endpoint", "http://127.0.0.1:9000"),
            ("aws_allow_http", "true"),
            ("aws_region", "us-east-1"),
        ]);
        let store = open("s3://bucket/some/prefix", &s3).expect("s3 opens");
        assert!(!format!("{store:?} {store}").contains("very-secret"));
        open("gs://bucket", &options(&[("google_skip_signature", "true")])).expect("gs opens");
        let azure = options(&[
            ("azure_storage_account_name", "name"),
            ("azure_storage_account_key", "c2VjcmV0"),
        ]);
        open("az://container/x", &azure).expect("az opens");
        open("memory:", &StoreOptions::new()).expect("memory opens");
    }

    #[test]
    fn plain_http_needs_to_be_asked_for() {
        let mut pairs = vec![("endpoint", "http://127.0.0.1:9000"), ("region", "x")];
        let error = open("s3://bucket", &options(&pairs)).expect_err("refused");
        assert!(error.to_string().contains("storage.allow_http"), "{error}");
        pairs.push(("allow_http", "true"));
        open("s3://bucket", &options(&pairs)).expect("asked for");
    }

    #[test]
    fn unknown_option_is_named_and_its_value_is_not() {
        let error = open("s3://bucket", &options(&[("aws_nonsense", "hidden")])).expect_err("bad");
        assert!(error.to_string().contains("aws_nonsense"), "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }

    #[test]
    fn python_names_alone_open_a_minio_store() {
        let options = options(&[
            ("STORAGE_TYPE", "MINIO"),
            ("STORAGE_ENDPOINT_URL", "http://localhost:9000"),
            ("STORAGE_ACCESS_KEY", "id"),
            ("STORAGE_SECRET_KEY", "key"),
            ("STORAGE_BUCKET", "lake"),
            ("STORAGE_FORCE_PATH_STYLE", "true"),
            ("SUPERTABLE_PREFIX", "a/b"),
        ]);
        open("", &options).expect("opens");
    }
}
