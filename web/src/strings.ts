// Every sentence and word that a person reads on the page, by view. Nothing else on the page holds any.

export const strings = {
  shell: {
    name: "Nitro",
    views: { chat: "Chat", server: "Server", records: "Records" },
    navigation: "Views",
    loading: "Loading…",
    broken: "This view could not be loaded. Reload the page.",
    theme: "Light or dark",
  },
  key: {
    title: "This server needs a key",
    explanation: "Whoever started it knows it: the value of --api-key. It stays in this tab and is forgotten with it.",
    label: "Key",
    wrong: "That is not this server's key.",
    send: "Use this key",
  },
  errors: {
    unreachable: "The server does not answer. Is it still running?",
    noJson: (status: number) => `The server answered with status ${status}, and not with JSON.`,
    ended: "The answer ended before it was whole.",
  },
  chat: {},
  server: {},
  records: {},
};
