//! Storage options under the names that the Python library reads from its environment.

use super::StoreOptions;
use crate::config::Secret;
use crate::error::{Error, Result};

/// What the Python library's option names say.
#[derive(Debug, Clone, Default)]
pub struct PythonNames {
    /// Address of the lake, if `STORAGE_TYPE` names a cloud store.
    pub url: Option<String>,
    /// The options under their `object_store` names; others are passed on unchanged.
    pub options: StoreOptions,
}

/// Which store `STORAGE_TYPE` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    S3,
    Gcs,
    Azure,
}

/// Translates `STORAGE_TYPE`, `STORAGE_ENDPOINT_URL`, `STORAGE_ACCESS_KEY`, `STORAGE_SECRET_KEY`,
/// `STORAGE_BUCKET`, `STORAGE_REGION`, `STORAGE_FORCE_PATH_STYLE` and `SUPERTABLE_PREFIX`.
/// An option under its `object_store` name wins over its translation.
///
/// # Errors
/// `Invalid` if a name or value is not known.
pub fn from_python_names(options: &StoreOptions) -> Result<PythonNames> {
    let value = |name: &str| {
        options.get(name).map(Secret::reveal).map(str::trim).filter(|text| !text.is_empty())
    };
    let kind = value("STORAGE_TYPE").map(kind_of).transpose()?;
    let mut out = PythonNames {
        url: address(kind, value("STORAGE_BUCKET"), value("SUPERTABLE_PREFIX"))?,
        options: StoreOptions::new(),
    };
    for (name, secret) in options {
        let text = secret.reveal().trim();
        let python = name.starts_with("STORAGE_") || name.starts_with("SUPERTABLE_");
        if python && !text.is_empty() {
            translate(name, text, kind.unwrap_or(Kind::S3), &mut out.options)?;
        }
    }
    for (name, secret) in options {
        if !name.starts_with("STORAGE_") && !name.starts_with("SUPERTABLE_") {
            out.options.insert(name.to_ascii_lowercase(), secret.clone());
        }
    }
    Ok(out)
}

fn kind_of(text: &str) -> Result<Kind> {
    match text.to_ascii_uppercase().as_str() {
        "LOCAL" => Ok(Kind::Local),
        "S3" | "MINIO" => Ok(Kind::S3),
        "GCS" | "GCP" => Ok(Kind::Gcs),
        "AZURE" => Ok(Kind::Azure),
        _ => Err(Error::invalid("STORAGE_TYPE is not known: use LOCAL, S3, MINIO, GCS or AZURE")
            .with("value", text)),
    }
}

fn address(
    kind: Option<Kind>,
    bucket: Option<&str>,
    prefix: Option<&str>,
) -> Result<Option<String>> {
    let scheme = match kind {
        None | Some(Kind::Local) => return Ok(None),
        Some(Kind::S3) => "s3",
        Some(Kind::Gcs) => "gs",
        Some(Kind::Azure) => "az",
    };
    let bucket = bucket.ok_or_else(|| {
        Error::invalid("STORAGE_TYPE names a cloud store: set STORAGE_BUCKET too")
    })?;
    let prefix = prefix.unwrap_or_default().trim_matches('/');
    Ok(Some(format!("{scheme}://{bucket}/{prefix}").trim_end_matches('/').to_owned()))
}

fn translate(name: &str, text: &str, kind: Kind, out: &mut StoreOptions) -> Result<()> {
    let mut set = |name: &str, value: &str| {
        out.insert(name.to_owned(), Secret::new(value));
    };
    match (name, kind) {
        ("STORAGE_TYPE" | "STORAGE_BUCKET" | "SUPERTABLE_PREFIX", _) | (_, Kind::Local) => {}
        ("STORAGE_ENDPOINT_URL", Kind::S3) => {
            set("aws_endpoint", text);
            if text.starts_with("http://") {
                set("aws_allow_http", "true");
            }
        }
        ("STORAGE_ENDPOINT_URL", Kind::Azure) => {
            set("azure_endpoint", text);
            if text.starts_with("http://") {
                set("allow_http", "true");
            }
        }
        ("STORAGE_ENDPOINT_URL", Kind::Gcs) => set("google_base_url", text),
        ("STORAGE_ACCESS_KEY", Kind::S3) => set("aws_access_key_id", text),
        ("STORAGE_SECRET_KEY", Kind::S3) => set("aws_secret_access_key", text),
        ("STORAGE_SESSION_TOKEN", Kind::S3) => set("aws_session_token", text),
        ("STORAGE_REGION", Kind::S3) => set("aws_region", text),
        ("STORAGE_FORCE_PATH_STYLE", Kind::S3) => {
            let virtual_hosted = if truth(name, text)? { "false" } else { "true" };
            set("aws_virtual_hosted_style_request", virtual_hosted);
        }
        ("STORAGE_ACCESS_KEY", Kind::Azure) => set("azure_storage_account_name", text),
        ("STORAGE_SECRET_KEY", Kind::Azure) => set("azure_storage_account_key", text),
        ("STORAGE_SECRET_KEY", Kind::Gcs) => set("google_service_account_key", text),
        // The rest has no meaning for this kind of store, and the Python library ignores it.
        ("STORAGE_REGION" | "STORAGE_FORCE_PATH_STYLE" | "STORAGE_ACCESS_KEY", _) => {}
        _ => {
            return Err(Error::invalid("storage option is not known").with("option", name));
        }
    }
    Ok(())
}

fn truth(name: &str, text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => {
            Err(Error::invalid("storage option must be true or false")
                .with("option", name.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&str, &str)]) -> Result<PythonNames> {
        let options = pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect();
        from_python_names(&options)
    }

    #[test]
    fn minio_settings_become_s3_options_and_an_address() {
        let got = named(&[
            ("STORAGE_TYPE", "minio"),
            ("STORAGE_ENDPOINT_URL", "http://localhost:9000"),
            ("STORAGE_FORCE_PATH_STYLE", "True"),
            ("STORAGE_ACCESS_KEY", "id"),
            ("STORAGE_BUCKET", "lake"),
            ("SUPERTABLE_PREFIX", "/p/"),
            ("AWS_REGION", "eu-1"),
        ])
        .expect("known names");
        assert_eq!(got.url.as_deref(), Some("s3://lake/p"));
        let shown: Vec<_> =
            got.options.iter().map(|(k, v)| format!("{k}={}", v.reveal())).collect();
        let expected = [
            "aws_access_key_id=id",
            "aws_allow_http=true",
            "aws_endpoint=http://localhost:9000",
            "aws_region=eu-1",
            "aws_virtual_hosted_style_request=false",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn local_and_unset_types_give_no_address() {
        assert_eq!(named(&[("STORAGE_TYPE", "LOCAL")]).expect("known").url, None);
        assert_eq!(named(&[]).expect("known").url, None);
    }

    #[test]
    fn wrong_values_are_refused() {
        assert!(named(&[("STORAGE_TYPE", "TAPE")]).is_err());
        assert!(named(&[("STORAGE_TYPE", "S3")]).is_err());
        assert!(named(&[("STORAGE_FORCE_PATH_STYLE", "maybe")]).is_err());
        assert!(named(&[("STORAGE_NONSENSE", "x")]).is_err());
    }
}
