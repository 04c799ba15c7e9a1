"""llama.cpp. Of llama-cpp-python only the bindings are imported: the package itself would bring a hundred modules."""

from nitro.system import packages

for name in ("llama_cpp", "gguf"):
    packages.defer(name)
