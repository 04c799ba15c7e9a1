"""llama.cpp. Of llama-cpp-python only the bindings are imported: the package itself would bring a hundred modules."""

from nitro.system import packages

packages.defer("llama_cpp")
