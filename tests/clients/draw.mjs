// What two JavaScript clients of others make of the API: modelfusion by the A1111 shape, openai by OpenAI's. Prints one line of JSON.
//
//     node draw.mjs http://127.0.0.1:8501 KEY
import { automatic1111, generateImage } from "modelfusion";
import OpenAI, { toFile } from "openai";

const [url, key] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const told = {};

const generator = automatic1111.ImageGenerator({
  api: automatic1111.Api({ baseUrl: { host: hostname, port } }),
  model: "paperworld",
  width: 64,
  height: 64,
  steps: 2,
  cfgScale: 1.5,
  seed: 7,
  sampler: "DPM++ 2M Karras",
});
const made = await generateImage({ model: generator, prompt: { prompt: "a red house", negativePrompt: "blurry" } });
told.modelfusion = Buffer.from(made).toString("base64");

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const answer = await client.images.generate({ prompt: "a boat", size: "64x64", studio: { steps: 2, seed: 7 } });
told.openai = answer.data[0].b64_json;
const image = await toFile(Buffer.from(told.openai, "base64"), "boat.png", { type: "image/png" });
const edited = await client.images.edit({ image, prompt: "a ship", size: "64x64", studio: '{"steps": 2}' });
told.edited = edited.data[0].b64_json;
told.models = [];
for await (const model of client.models.list()) told.models.push(model.id);
told.refused = await client.images.generate({ prompt: "x", model: "dall-e-3" }).catch((error) => [error.status, error.message]);
console.log(JSON.stringify(told));
