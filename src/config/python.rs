//! The Python library's environment names (format spec sections 1 and 2), so that a gateway
//! started beside it needs no second configuration.

use crate::config::load::Environment;

/// One assignment found: setting, value, variable that it came from.
pub(super) type Found = (String, String, String);

/// Options of the object store that its own tools read, kept under the same name in lower case.
const STORAGE_VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SKIP_SIGNATURE",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_ALLOW_HTTP",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Which family of options fits the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Aws,
    Azure,
    Google,
}

impl Family {
    fn of(lake: &str) -> Option<Self> {
        match lake.split_once("://")?.0 {
            "s3" | "s3a" => Some(Self::Aws),
            "az" | "azure" | "abfs" | "abfss" | "adl" => Some(Self::Azure),
            "gs" => Some(Self::Google),
            _ => None,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Aws => "AWS_",
            Self::Azure => "AZURE_",
            Self::Google => "GOOGLE_",
        }
    }
}

/// Lake, catalogue and scope as the Python library names them.
pub(super) fn settings(environment: &Environment) -> Vec<Found> {
    let mut found = Vec::new();
    if let Some((lake, variable)) = lake(environment) {
        found.push(("lake".to_owned(), lake, variable));
    }
    if let Some((url, variable)) = redis_url(environment) {
        found.push(("catalog".to_owned(), url, variable));
    }
    for (name, key) in [
        ("USERNAME", "redis.username"),
        ("PASSWORD", "redis.password"),
        ("SENTINEL_PASSWORD", "redis.sentinel_password"),
    ] {
        if let Some((value, variable)) = redis(environment, name) {
            found.push((key.to_owned(), value, variable));
        }
    }
    let sentinel = redis(environment, "SENTINEL").is_some_and(|(value, _)| is_true(&value));
    if sentinel {
        for (name, key) in
            [("SENTINELS", "redis.sentinels"), ("SENTINEL_MASTER", "redis.sentinel_master")]
        {
            if let Some((value, variable)) = redis(environment, name) {
                found.push((key.to_owned(), value, variable));
            }
        }
    }
    if let Some(value) = environment.get("SUPERTABLE_ORGANIZATION") {
        found.push((
            "organization".to_owned(),
            value.to_owned(),
            "SUPERTABLE_ORGANIZATION".to_owned(),
        ));
    }
    found
}

/// Options of the object store of `lake`: the cloud's own names first, the Python library's over
/// them.
pub(super) fn storage(environment: &Environment, lake: &str) -> Vec<Found> {
    let Some(family) = Family::of(lake) else { return Vec::new() };
    let mut found = Vec::new();
    if family == Family::Aws {
        found.extend(super::aws::profile(environment));
    }
    for variable in STORAGE_VARIABLES.iter().filter(|name| name.starts_with(family.prefix())) {
        if let Some(value) = environment.get(variable) {
            found.push((variable.to_ascii_lowercase(), value.to_owned(), (*variable).to_owned()));
        }
    }
    let names: &[(&str, &str)] = match family {
        Family::Aws => &[
            ("STORAGE_ENDPOINT_URL", "aws_endpoint_url"),
            ("STORAGE_ACCESS_KEY", "aws_access_key_id"),
            ("STORAGE_SECRET_KEY", "aws_secret_access_key"),
            ("STORAGE_SESSION_TOKEN", "aws_session_token"),
            ("STORAGE_REGION", "aws_region"),
        ],
        Family::Azure => &[
            ("STORAGE_ENDPOINT_URL", "azure_storage_endpoint"),
            ("STORAGE_ACCESS_KEY", "azure_storage_account_name"),
            ("STORAGE_SECRET_KEY", "azure_storage_account_key"),
        ],
        Family::Google => &[],
    };
    for (variable, option) in names {
        if let Some(value) = environment.get(variable) {
            found.push(((*option).to_owned(), value.to_owned(), (*variable).to_owned()));
        }
    }
    plain_http(environment, family, &mut found);
    if family == Family::Aws
        && let Some(value) = environment.get("STORAGE_FORCE_PATH_STYLE")
    {
        found.push((
            "aws_virtual_hosted_style_request".to_owned(),
            (!is_true(value)).to_string(),
            "STORAGE_FORCE_PATH_STYLE".to_owned(),
        ));
    }
    found
}

/// The Python library takes the endpoint's `http://` for consent to a transport without encryption.
fn plain_http(environment: &Environment, family: Family, found: &mut Vec<Found>) {
    const VARIABLE: &str = "STORAGE_ENDPOINT_URL";
    let option = match family {
        Family::Aws => "aws_allow_http",
        Family::Azure => "azure_allow_http",
        // Its endpoint has no variable.
        Family::Google => return,
    };
    if environment.get(VARIABLE).is_some_and(|url| url.starts_with("http://")) {
        found.push((option.to_owned(), "true".to_owned(), VARIABLE.to_owned()));
    }
}

/// The lake of `STORAGE_TYPE`, `STORAGE_BUCKET`, `SUPERTABLE_PREFIX` and `SUPERTABLE_HOME`.
fn lake(environment: &Environment) -> Option<(String, String)> {
    let kind = environment.get("STORAGE_TYPE").map(str::to_ascii_uppercase);
    let scheme = match kind.as_deref() {
        Some("S3" | "MINIO") => "s3",
        Some("AZURE") => "az",
        Some("GCS" | "GCP") => "gs",
        _ => {
            let home = environment.get("SUPERTABLE_HOME")?;
            return Some((expand_home(environment, home), "SUPERTABLE_HOME".to_owned()));
        }
    };
    let bucket = environment.get("STORAGE_BUCKET")?;
    let prefix = environment.get("SUPERTABLE_PREFIX").unwrap_or_default().trim_matches('/');
    let url = if prefix.is_empty() {
        format!("{scheme}://{bucket}")
    } else {
        format!("{scheme}://{bucket}/{prefix}")
    };
    Some((url, "STORAGE_BUCKET".to_owned()))
}

fn expand_home(environment: &Environment, path: &str) -> String {
    match (path.strip_prefix("~/"), environment.get("HOME")) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

/// `SUPERTABLE_REDIS_<name>`, else `REDIS_<name>`.
fn redis(environment: &Environment, name: &str) -> Option<(String, String)> {
    [format!("SUPERTABLE_REDIS_{name}"), format!("REDIS_{name}")].into_iter().find_map(|variable| {
        environment.get(&variable).map(|value| (value.to_owned(), variable.clone()))
    })
}

fn redis_url(environment: &Environment) -> Option<(String, String)> {
    if let Some(found) = redis(environment, "URL") {
        return Some(found);
    }
    let host = redis(environment, "HOST");
    let sentinel = redis(environment, "SENTINEL").filter(|(value, _)| is_true(value));
    let (_, variable) = host.clone().or(sentinel)?;
    let host = host.map_or_else(|| "localhost".to_owned(), |(value, _)| value);
    let part = |name: &str, default: &str| {
        redis(environment, name).map_or_else(|| default.to_owned(), |(value, _)| value)
    };
    let scheme = if is_true(&part("SSL", "false")) { "rediss" } else { "redis" };
    Some((format!("{scheme}://{host}:{}/{}", part("PORT", "6379"), part("DB", "0")), variable))
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}
