// Sound from the microphone, as a WAV file: browsers record in forms of their own, which the server need not know.
// The form: http://soundfile.sapp.org/doc/WaveFormat/ (RIFF, "fmt " of PCM, "data").

const RATE = 16_000; // samples a second: what models that hear take
const HEADER = 44; // bytes

/** Whether the browser lets this page ask for the microphone: only over https, or from this machine. */
export const canRecord = "mediaDevices" in navigator && "MediaRecorder" in globalThis;

export interface Recording {
  /** Ends it, and gives the file. */
  stop: () => Promise<Blob>;
}

/** Begin to record. Rejects where the person or the browser refuses. */
export async function record(): Promise<Recording> {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const pieces: Blob[] = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const ended = new Promise<void>((resolve) => (recorder.onstop = () => resolve()));
  recorder.start();
  return {
    stop: async () => {
      recorder.stop();
      await ended;
      for (const track of stream.getTracks()) track.stop();
      return wav(await samples(new Blob(pieces)));
    },
  };
}

/** One channel at RATE. */
async function samples(recorded: Blob): Promise<Float32Array> {
  const context = new OfflineAudioContext(1, 1, RATE); // decoding resamples to its rate
  const buffer = await context.decodeAudioData(await recorded.arrayBuffer());
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((value, index) => (mixed[index]! += value / buffer.numberOfChannels));
  }
  return mixed;
}

/** 16 bits a sample. */
export function wav(mono: Float32Array): Blob {
  const view = new DataView(new ArrayBuffer(HEADER + mono.length * 2));
  const text = (at: number, letters: string) => [...letters].forEach((each, i) => view.setUint8(at + i, each.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of what follows
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, RATE * 2, true); // bytes a second
  view.setUint16(32, 2, true); // bytes a frame
  view.setUint16(34, 16, true); // bits a sample
  text(36, "data");
  view.setUint32(40, mono.length * 2, true);
  mono.forEach((value, i) => view.setInt16(HEADER + i * 2, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view.buffer], { type: "audio/wav" });
}
