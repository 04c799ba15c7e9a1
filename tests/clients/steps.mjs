// What a client's program in JavaScript is made of, as steps.py is for Python.

const steps = [];

// The function, which comes last, shows `what` on these servers: it asserts it.
export function step(what, ...rest) {
  const show = rest.pop();
  if (rest.includes(process.env.NITRO_SERVER)) steps.push([what, show]);
}

// Every step, so that one failure does not hide another.
export async function run() {
  for (const [what, show] of steps) {
    try {
      await show();
      console.log(`ok: ${what}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAILED: ${what}`, error);
    }
  }
}

// A file that is all of this colour, red or green, which the model on llama.cpp sees.
export const picture = (colour) => `${process.env.NITRO_PICTURES}/${colour}.png`;

// A file with a sound.
export const speech = () => `${process.env.NITRO_PICTURES}/speech.wav`;

// A prompt, or a part of one, after which the scripted model says this.
export const says = (script) => `␂${script}␃`;
