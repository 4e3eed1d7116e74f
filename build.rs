//! Compiles the shim in `native/` against the libtorch that torch-sys found, and lets every
//! binary, test, example and bench find that libtorch where it lies, without LD_LIBRARY_PATH. Where the
//! headers of CUDA and NCCL are, libarcrun_nccl.so is made too, which the program opens at run time.

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
        "open_nccl.cpp",
        "optimizers.cpp",
        "sharded_softmax.cpp",
        "sync_batch_norm.cpp",
    ];
    let headers = [
        "arcrun_native.h",
        "cuda.h",
        "distributed.h",
        "group.h",
        "guarded.h",
        "lists.h",
        "nccl.h",
        "rows.h",
    ];
    for file in sources.iter().chain(&headers).chain(&["nccl.cpp", "early.c", "signals.c"]) {
        println!("cargo::rerun-if-changed=native/{file}");
    }
    for name in [
        "LIBTORCH",
        "LIBTORCH_LIB",
        "LIBTORCH_INCLUDE",
        "LIBTORCH_CXX11_ABI",
        "GLOO_INCLUDE",
        "CUDA_HOME",
        "NCCL_HOME",
    ] {
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
        .flag(api_include);
    let shared = build.clone();
    build.files(sources.map(|file| format!("native/{file}")));
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
    let object = nccl_object(shared, &lib);
    println!("cargo::rustc-env=ARCRUN_NCCL={}", object.unwrap_or_default().display());

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

/// Makes libarcrun_nccl.so, and a copy beside the program; None where headers are missing. It is linked
/// with no library: all its symbols are of the libtorch that the program has opened when it opens this.
fn nccl_object(mut shared: cc::Build, lib: &Path) -> Option<PathBuf> {
    let folders = cuda_includes(lib)?;
    for folder in &folders {
        shared.flag("-isystem").flag(folder);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR")?);
    let object = out.join(OBJECT);
    let mut compiler = shared.get_compiler().to_command();
    compiler.args(["-shared", "native/nccl.cpp", "-o"]).arg(&object);
    match compiler.output() {
        Ok(done) if done.status.success() => {}
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            let error = said.lines().find(|line| line.contains("error")).unwrap_or_default();
            println!("cargo::warning=no {OBJECT}, which several processes on GPUs need: {error}");
            return None;
        }
        Err(error) => panic!("cannot start the C++ compiler: {error}"),
    }
    // target/PROFILE/build/arcrun-HASH/out
    if let Some(profile) = out.ancestors().nth(3) {
        let beside = profile.join(OBJECT);
        // A program that runs may have the old one open: it keeps it.
        let _ = std::fs::remove_file(&beside);
        if let Err(error) = std::fs::copy(&object, &beside) {
            println!("cargo::warning=cannot write {}: {error}", beside.display());
        }
    }
    Some(object)
}

const OBJECT: &str = "libarcrun_nccl.so";

/// The folders with the headers of CUDA and NCCL: those of the wheels beside libtorch, then
/// $CUDA_HOME/include and $NCCL_HOME/include. None where there is no NCCL; where NCCL is there and
/// something else is not, that is said.
fn cuda_includes(lib: &Path) -> Option<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = ["CUDA_HOME", "NCCL_HOME"]
        .into_iter()
        .filter_map(|name| env::var_os(name).filter(|home| !home.is_empty()))
        .map(|home| Path::new(&home).join("include"))
        .collect();
    // As the wheels of PyTorch lie: libtorch's own, or a Python's site-packages.
    let wheels = lib.join("../../nvidia");
    folders.extend(["cu13/include", "nccl/include"].map(|folder| wheels.join(folder)));
    folders.retain(|folder| folder.is_dir());
    let lacks = |header: &str| !folders.iter().any(|folder| folder.join(header).is_file());
    if lacks("nccl.h") {
        return None;
    }
    let needed = [
        "cuda_runtime.h",
        "crt/host_config.h",
        "nv/target",
        "cublas_v2.h",
        "cusparse.h",
        "cusolverDn.h",
    ];
    let missing: Vec<&str> = needed.into_iter().filter(|header| lacks(header)).collect();
    if missing.is_empty() {
        return Some(folders);
    }
    println!(
        "cargo::warning=no {OBJECT}, which several processes on GPUs need: {} found neither beside \
         libtorch nor in CUDA_HOME/include (pip's nvidia-cuda-crt, nvidia-cuda-cccl, nvidia-cublas and so on have them; \
         `ARCRUN_LIBTORCH=cu130 ./run.sh setup` fetches all into a new cache)",
        missing.join(", ")
    );
    None
}
