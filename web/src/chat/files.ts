// Files that a person gives, as attachments: data: URLs, which are part of the conversation and of the request. What a
// file is, and whether it is too large, the server says; the page only tells pictures from sounds.

import type { Attachment } from "./conversation";

/** What a file becomes; null where it is neither picture nor sound. Rejects where it cannot be read. */
export async function attachmentOf(file: File): Promise<Attachment | null> {
  const kind = file.type.startsWith("image/") ? "image" : file.type.startsWith("audio/") ? "audio" : null;
  return kind && { kind, name: file.name || kind, url: await dataUrl(file) };
}

export function dataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
