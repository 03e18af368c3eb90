//! The `mountable` binary: the allocator and the exit code, nothing else.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    mountable::cli::main()
}
