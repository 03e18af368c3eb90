//! The address of a lake: which kind of store, and where in it.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A directory of this machine.
    Local(PathBuf),
    /// Nowhere: gone when the process ends.
    Memory,
    /// S3 or a compatible store.
    S3 {
        /// The bucket.
        bucket: String,
        /// Path within the bucket, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// Path within the bucket, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// Azure Blob Storage.
    Azure {
        /// The container.
        container: String,
        /// Path within the container, without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl Address {
    /// Parses the address of a lake; text without a scheme is a directory.
    ///
    /// # Errors
    /// `Invalid` if the scheme is not known or the bucket is missing.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid(
                "the lake has no address: give a directory or s3://, gs://, az://",
            ));
        }
        if matches!(text, "memory:" | "memory://" | "memory:///") {
            return Ok(Self::Memory);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        match scheme {
            "file" => file_url(text),
            "s3" | "s3a" => {
                bucket_and_prefix(text, rest).map(|(bucket, prefix)| Self::S3 { bucket, prefix })
            }
            "gs" => {
                bucket_and_prefix(text, rest).map(|(bucket, prefix)| Self::Gcs { bucket, prefix })
            }
            "az" | "azure" => bucket_and_prefix(text, rest)
                .map(|(container, prefix)| Self::Azure { container, prefix }),
            _ => Err(Error::invalid(
                "kind of lake is not known: use a directory, s3://, gs://, az://",
            )
            .with("scheme", scheme)),
        }
    }
}

impl Address {
    /// The address as other engines write it, without a slash at the end.
    ///
    /// # Errors
    /// `Invalid` if a directory has no absolute path in UTF-8.
    pub fn uri(&self) -> Result<String> {
        let below = |scheme: &str, bucket: &str, prefix: &str| match prefix {
            "" => format!("{scheme}://{bucket}"),
            prefix => format!("{scheme}://{bucket}/{prefix}"),
        };
        Ok(match self {
            Self::Local(directory) => {
                let path = std::fs::canonicalize(directory)
                    .map_err(|error| Error::from(error).with("directory", directory.display()))?;
                let path = path.to_str().ok_or_else(|| {
                    Error::invalid("the lake's path is not UTF-8").with("path", path.display())
                })?;
                // Not escaped: readers of data lakes take the rest as it is.
                format!("file://{path}")
            }
            Self::Memory => "memory://lake".to_owned(),
            Self::S3 { bucket, prefix } => below("s3", bucket, prefix),
            Self::Gcs { bucket, prefix } => below("gs", bucket, prefix),
            Self::Azure { container, prefix } => below("az", container, prefix),
        })
    }
}

fn file_url(text: &str) -> Result<Address> {
    url::Url::parse(text)
        .ok()
        .and_then(|url| url.to_file_path().ok())
        .map(Address::Local)
        .ok_or_else(|| {
            Error::invalid("file address needs an absolute path, as in file:///srv/lake")
                .with("address", text)
        })
}

/// Splits `bucket/prefix`. Credentials in the address are refused, because addresses are logged.
fn bucket_and_prefix(text: &str, rest: &str) -> Result<(String, String)> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        return Err(Error::invalid("credentials do not belong into the address of a lake"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if bucket.is_empty() || !bucket.chars().all(allowed) {
        return Err(Error::invalid("address names no bucket").with("address", text));
    }
    let prefix = prefix.trim_matches('/');
    object_store::path::Path::parse(prefix).map_err(|error| {
        Error::invalid("prefix of the address is not allowed")
            .with("address", text)
            .caused_by(error)
    })?;
    Ok((bucket.to_owned(), prefix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_are_understood() {
        let parse = |text| Address::parse(text).expect("allowed address");
        assert_eq!(parse("lake dir"), Address::Local("lake dir".into()));
        assert_eq!(parse("file:///srv/a%20b"), Address::Local("/srv/a b".into()));
        assert_eq!(parse("memory:"), Address::Memory);
        let s3 = Address::S3 { bucket: "b-1.x".into(), prefix: "a/b".into() };
        assert_eq!(parse("s3://b-1.x/a/b/"), s3);
        assert_eq!(parse("gs://b"), Address::Gcs { bucket: "b".into(), prefix: String::new() });
        let azure = Address::Azure { container: "c".into(), prefix: "p".into() };
        assert_eq!(parse("az://c/p"), azure);
    }

    #[test]
    fn addresses_are_written_as_other_engines_do() {
        let uri = |text| Address::parse(text).and_then(|address| address.uri()).expect("written");
        assert_eq!(uri("s3a://b/x/y/"), "s3://b/x/y");
        assert_eq!(uri("gs://b"), "gs://b");
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().canonicalize().expect("there");
        let text = format!("{}/.", path.display());
        assert_eq!(uri(&text), format!("file://{}", path.display()));
    }

    #[test]
    fn addresses_that_mean_nothing_are_refused() {
        for bad in
            ["", "ftp://x", "s3://", "s3:///x", "s3://user:pw@b/x", "s3://b/../x", "file://h"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
