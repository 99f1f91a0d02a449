import { HeadObjectCommand, NotFound, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import type { AttachmentStore } from "./attachment-store.ts";

export interface S3Options {
  bucket: string;
  /** Put before each name as it is. */
  prefix: string;
  region: string;
  /** Of a server other than Amazon's. */
  endpoint?: string | undefined;
  /** Without them, those of the environment or the machine. */
  accessKey?: string | undefined;
  secret?: string | undefined;
}

/** Octets held of one attachment, twice: an object larger than that goes up in parts. S3 takes none smaller than 5 MiB. */
const partOctets = 5 * 1_024 * 1_024;

/** A bucket of S3, or of a server that speaks it. An object shows when it is whole, however many parts it went up in. */
export function s3Store({ bucket, prefix, region, endpoint, accessKey, secret }: S3Options): AttachmentStore {
  const client = new S3Client({
    region,
    // Others than Amazon's seldom have a host name for each bucket, and do not all know the newer checksums.
    ...(endpoint ? { endpoint, forcePathStyle: true } : {}),
    ...(accessKey && secret ? { credentials: { accessKeyId: accessKey, secretAccessKey: secret } } : {}),
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
  const exists = async (key: string): Promise<boolean> => {
    try {
      await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
      return true;
    } catch (error) {
      if (error instanceof NotFound) return false;
      throw error;
    }
  };
  return {
    async save(name, contentType, octets, signal) {
      const key = `${prefix}${name}`;
      const place = `s3://${bucket}/${key}`;
      if (await exists(key)) {
        octets.destroy();
        return place;
      }
      const upload = new Upload({
        client,
        params: { Bucket: bucket, Key: key, Body: octets, ContentType: contentType },
        partSize: partOctets,
        queueSize: 1,
      });
      const abort = () => void upload.abort();
      signal.addEventListener("abort", abort);
      try {
        await upload.done();
      } finally {
        signal.removeEventListener("abort", abort);
        octets.destroy();
      }
      return place;
    },
  };
}
