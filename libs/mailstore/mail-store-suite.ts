import { afterEach, beforeEach, describe } from "node:test";
import type { MailStore } from "./mail-store.ts";
import { archivingCases } from "./suite/archiving.ts";
import { deadLetterCases } from "./suite/dead-letters.ts";
import type { StorePlace, SuiteContext } from "./suite/fixtures.ts";
import { listingCases } from "./suite/listing.ts";
import { personalDataCases } from "./suite/personal-data.ts";
import { removingCases } from "./suite/removing.ts";
import { searchingCases } from "./suite/searching.ts";
import { selectingCases } from "./suite/selecting.ts";
import { snapshotCases } from "./suite/snapshots.ts";
import { stateCases } from "./suite/states.ts";
import { storingCases } from "./suite/storing.ts";

/** What every mail store does, whatever it is made of. `begin` makes an empty place for each test. */
export function testMailStore(name: string, begin: () => Promise<StorePlace>): void {
  describe(name, () => {
    let place: StorePlace;
    let store: MailStore;
    beforeEach(async () => {
      place = await begin();
      store = await place.open();
    });
    afterEach(async () => {
      store.close();
      await place.end();
    });
    const context: SuiteContext = {
      store: () => store,
      open: () => place.open(),
      reopen: async () => {
        store.close();
        store = await place.open();
      },
    };

    storingCases(context);
    stateCases(context);
    archivingCases(context);
    listingCases(context);
    searchingCases(context);
    deadLetterCases(context);
    selectingCases(context);
    snapshotCases(context);
    removingCases(context);
    personalDataCases(context);
  });
}
