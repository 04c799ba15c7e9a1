import { defineConfig } from "vite";

// Paths are relative, so that the page also works below a prefix of a proxy. Names carry a hash of their content:
// the server lets browsers keep what is in page/ for good (nitro/api/page.py).
export default defineConfig({
  base: "./",
  build: {
    outDir: "../nitro/web",
    emptyOutDir: true,
    assetsDir: "page",
    assetsInlineLimit: 0, // the Content-Security-Policy lets no script or style be in the document
    license: { fileName: "licenses.md" }, // the notices of the libraries that the page is made of
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  // `npm run dev` with NITRO=http://127.0.0.1:3928 shows the page of the sources against that server.
  server: { proxy: { "/v1": process.env.NITRO ?? "", "/health": process.env.NITRO ?? "", "/schema": process.env.NITRO ?? "" } },
});
