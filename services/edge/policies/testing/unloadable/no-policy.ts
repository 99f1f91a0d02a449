export default { name: "no-policy" };
