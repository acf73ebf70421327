// Writes, syncs, renames, reads back and removes 200 files at once; prints a checksum of what it read.
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';

const dir = `${process.argv[2]}/node-files`;
await mkdir(dir);
const content = (i) => Buffer.alloc(1 + i * 331, `file ${i} `);
const one = async (i) => {
  const [draft, file] = [`${dir}/${i}.draft`, `${dir}/${i}`];
  await writeFile(draft, content(i));
  const handle = await open(draft, 'r+');
  await handle.sync();
  await handle.close();
  await rename(draft, file);
  if ((await stat(file)).size !== content(i).length) throw new Error(`size of ${file}`);
  const back = await readFile(file);
  if (!back.equals(content(i))) throw new Error(`content of ${file}`);
  return back;
};
const all = await Promise.all(Array.from({ length: 200 }, (_, i) => one(i)));
await rm(dir, { recursive: true });
console.log(createHash('sha256').update(Buffer.concat(all)).digest('hex'));
