//! Compiles the shim in `native/` against the libtorch that torch-sys found, and lets every
//! binary, test, example and bench find that libtorch where it lies, without LD_LIBRARY_PATH.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    let sources = [
        "arcrun_native.cpp",
        "checkpointing.cpp",
        "collectives.cpp",
        "distributed.cpp",
        "margin_softmax.cpp",
        "nonfinite.cpp",
        "optimizers.cpp",
        "sharded_softmax.cpp",
        "sync_batch_norm.cpp",
    ];
    let headers = ["arcrun_native.h", "distributed.h", "group.h", "guarded.h", "lists.h", "rows.h"];
    for file in sources.iter().chain(&headers).chain(&["early.c", "signals.c"]) {
        println!("cargo::rerun-if-changed=native/{file}");
    }
    for name in
        ["LIBTORCH", "LIBTORCH_LIB", "LIBTORCH_INCLUDE", "LIBTORCH_CXX11_ABI", "GLOO_INCLUDE"]
    {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // torch-sys publishes it to its direct dependents.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        panic!("torch-sys names no libtorch: run ./run.sh setup, or set LIBTORCH");
    };
    // The rpath outlives the checkout (`cargo install`), so it must not go through its symlink.
    let lib = lib.canonicalize().unwrap_or_else(|e| {
        panic!("no libtorch in {}: {e}: run ./run.sh setup, or set LIBTORCH", lib.display())
    });
    // run.sh touches its mark of completeness when it points the checkout at another libtorch.
    let mark = lib.join("../../.arcrun-complete");
    if mark.exists() {
        println!("cargo::rerun-if-changed={}", mark.display());
    }

    let include = match env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => Path::new(&root).join("include"),
        None => lib.join("../include"),
    };
    // Autograd's headers are part of the C++ API, which lies one folder deeper.
    let api_include = include.join("torch/csrc/api/include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .pic(true)
        .flag("-isystem")
        .flag(&include)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        // As libtorch itself was built: some of its classes have other members without it.
        .define("NDEBUG", None)
        .flag("-isystem")
        .flag(api_include)
        .files(sources.map(|file| format!("native/{file}")));
    if let Some(include) = gloo_include() {
        build.define("ARCRUN_GLOO", None);
        if include != Path::new(SYSTEM_INCLUDE) {
            build.flag("-isystem").flag(include);
        }
    }
    build.compile("arcrun_native");
    cc::Build::new().pic(true).file("native/signals.c").compile("arcrun_signals");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        for object in cc::Build::new().pic(true).file("native/early.c").compile_intermediates() {
            println!("cargo::rustc-link-arg-bin=run={}", object.display());
        }
    }

    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

/// On the compiler's own list, which must keep its order.
const SYSTEM_INCLUDE: &str = "/usr/include";

/// The folder of gloo's headers, which libtorch's wheel lacks: $GLOO_INCLUDE, or where Debian's
/// libgloo-dev puts them. Without them arcrun builds, and refuses several processes on the CPU.
fn gloo_include() -> Option<PathBuf> {
    let header = |folder: &PathBuf| folder.join("gloo/context.h").is_file();
    if let Some(given) = env::var_os("GLOO_INCLUDE").filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        assert!(header(&given), "GLOO_INCLUDE: no gloo/context.h in {}", given.display());
        return Some(given);
    }
    // Installed later, they make a build that has them.
    println!("cargo::rerun-if-changed={SYSTEM_INCLUDE}/gloo");
    Some(PathBuf::from(SYSTEM_INCLUDE)).filter(header)
}
