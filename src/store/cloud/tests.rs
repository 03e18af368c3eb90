//! The wrapping of cloud stores over stores in memory.

use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;
use crate::clock::SystemClock;
use crate::config::Secret;
use crate::error::ErrorKind;
use crate::store::fault::{Call, FaultStore};
use crate::store::{Objects, PutCreate, Retries, put_create, put_unique};

/// A store that ignores the condition of a put, as old servers of the S3 protocol do.
#[derive(Debug)]
struct Careless(InMemory);

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Careless")
    }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        _: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.0.put(location, payload).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

fn counted(limits: &CloudLimits) -> (Arc<FaultStore>, Objects) {
    let counter = Arc::new(FaultStore::new(Arc::new(InMemory::new())));
    let inner: Objects = Arc::clone(&counter) as Objects;
    (counter, Arc::new(CloudStore::new(inner, limits)))
}

fn limits(pairs: &[(&str, &str)]) -> Result<CloudLimits> {
    let mut options: StoreOptions =
        pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect();
    let limits = CloudLimits::take(&mut options)?;
    assert!(options.keys().all(|name| name == "region"), "{options:?}");
    Ok(limits)
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_before_anything_is_created() {
    let careless = Careless(InMemory::new());
    let objects: Objects = Arc::new(CloudStore::new(careless, &CloudLimits::default()));
    for _ in 0..2 {
        let error = put_create(&objects, "a/b", Bytes::from_static(b"x")).await.expect_err("no");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(format!("{error:#}").contains("If-None-Match"), "{error:#}");
    }
    assert_eq!(crate::store::get(&objects, "a/b").await.expect("get"), None);
}

#[tokio::test]
async fn the_proof_costs_two_puts_once_and_one_in_the_next_process() {
    let (counter, objects) = counted(&CloudLimits::default());
    for name in ["a", "b"] {
        let put = put_create(&objects, name, Bytes::from_static(b"x")).await.expect("put");
        assert_eq!(put, PutCreate::Created);
    }
    assert_eq!(counter.calls(Call::Put), 4);
    let inner: Objects = Arc::clone(&counter) as Objects;
    let next: Objects = Arc::new(CloudStore::new(inner, &CloudLimits::default()));
    assert_eq!(put_create(&next, "c", Bytes::new()).await.expect("put"), PutCreate::Created);
    assert_eq!(counter.calls(Call::Put), 6);
}

#[tokio::test]
async fn a_large_object_goes_in_parts_and_comes_back_whole() {
    let (_, objects) = counted(&CloudLimits { part_bytes: 1000, ..CloudLimits::default() });
    let retries = Retries::standard(Arc::new(SystemClock));
    for len in [999, 1000, 1001, 2000, 4321] {
        let bytes: Bytes = (0..len).map(|i: u32| i.to_le_bytes()[0]).collect();
        let name = format!("f/{len}");
        let put = put_unique(&objects, &name, bytes.clone(), &retries).await.expect("put");
        assert_eq!(put, PutCreate::Created);
        let got = crate::store::get(&objects, &name).await.expect("get");
        assert_eq!(got, Some(bytes), "{len}");
    }
}

#[tokio::test]
async fn ranges_are_cut_out_of_joined_fetches() {
    let (counter, objects) = counted(&CloudLimits::default());
    let bytes: Bytes = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let _put = put_create(&objects, "f", bytes.clone()).await.expect("put");
    let ranges =
        [2_500_000..2_500_010, 5..9, 1_000_000..1_000_000, 0..3, 200..700, 2_999_999..3_000_000];
    let before = counter.calls(Call::Get);
    let got = crate::store::get_ranges(&objects, "f", &ranges).await.expect("ranges");
    for (range, got) in ranges.iter().zip(got) {
        let within = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert_eq!(got, bytes.slice(within), "{range:?}");
    }
    assert_eq!(counter.calls(Call::Get) - before, 3);
}

#[test]
fn limits_are_options_of_the_storage() {
    assert_eq!(limits(&[("region", "x")]).expect("fine"), CloudLimits::default());
    let got = limits(&[("retries", "2"), ("retry_timeout", "5s"), ("part_bytes", "8MiB")]);
    let wanted =
        CloudLimits { retries: 2, retry_timeout: Duration::from_secs(5), part_bytes: 8 << 20 };
    assert_eq!(got.expect("fine"), wanted);
    for bad in [("retries", "many"), ("retry_timeout", "soon"), ("part_bytes", "1MiB")] {
        let error = limits(&[bad]).expect_err("refused");
        assert!(error.to_string().contains(bad.0), "{error}");
    }
}
